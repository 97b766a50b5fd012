"""Pydantic AI, over chat completions and over responses."""

from plane import DATA, HELLO, TOOL_PROMPT, Client, Run, raises
from pydantic import BaseModel
from pydantic_ai import Agent, exceptions
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

client = Client("pydantic-ai")


class City(BaseModel):
    city: str


def agent(kind=OpenAIChatModel, key=client.run.key, **more):
    provider = OpenAIProvider(base_url=DATA + "/v1", api_key=key)
    return Agent(kind("gpt-4o-mini", provider=provider), **more)


def whole(kind):
    def work():
        result = agent(kind).run_sync(HELLO)
        assert result.output and result.usage.output_tokens > 0

    return work


def streamed(kind):
    def work():
        with agent(kind).run_stream_sync(HELLO) as result:
            assert "".join(result.stream_text(delta=True))

    return work


def tools():
    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        asked = []
        assistant = agent(kind)

        @assistant.tool_plain
        def weather(city: str) -> str:
            asked.append(city)
            return "sunny"

        assert assistant.run_sync(TOOL_PROMPT).output and asked


def structured():
    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        assert agent(kind, output_type=City).run_sync(HELLO).output.city


def error(kind, status, key):
    raises(kind, lambda: agent(key=key).run_sync(HELLO), status)


def error_401():
    error(exceptions.ModelAuthenticationError, 401, "rg-run-nobody")


def error_402():
    run = Run(cost_limit_usd="0.0000001")
    error(exceptions.ModelQuotaExceededError, 402, run.key)
    run.refused("cost_limit_exceeded", 1)


def error_403():
    run = Run()
    run.close()
    error(exceptions.ModelAuthenticationError, 403, run.key)


def error_429():
    run = Run(call_limit=1)
    agent(key=run.key).run_sync(HELLO)
    error(exceptions.ModelQuotaExceededError, 429, run.key)
    run.refused("call_limit_exceeded", 1)


client.call("chat", whole(OpenAIChatModel))
client.call("chat streamed", streamed(OpenAIChatModel))
client.call("tools", tools)
client.call("structured output", structured)
client.call("responses", whole(OpenAIResponsesModel))
client.call("responses streamed", streamed(OpenAIResponsesModel))
client.call("error 401", error_401)
client.call("error 402, asked once", error_402)
client.call("error 403", error_403)
client.call("error 429, asked once", error_429)
client.charged()
