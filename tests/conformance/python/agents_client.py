"""OpenAI's Agents SDK, over responses, which is its default, and over chat completions."""

import asyncio

import openai
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
)
from plane import HELLO, TOOL_PROMPT, Client, Run, raises
from pydantic import BaseModel

client = Client("openai-agents")


class City(BaseModel):
    city: str


def agent(kind=OpenAIResponsesModel, key=client.run.key, **more):
    model = kind(model="gpt-4o-mini", openai_client=openai.AsyncOpenAI(api_key=key))
    return Agent(name="assistant", instructions="Be brief.", model=model, **more)


def whole(kind):
    def work():
        result = Runner.run_sync(agent(kind), HELLO)
        assert result.final_output and result.context_wrapper.usage.output_tokens > 0

    return work


def streamed(kind):
    async def read():
        result = Runner.run_streamed(agent(kind), HELLO)
        deltas = [
            event.data.delta
            async for event in result.stream_events()
            if event.type == "raw_response_event"
            and event.data.type == "response.output_text.delta"
        ]
        assert deltas and result.final_output == "".join(deltas)

    return lambda: asyncio.run(read())


def tools():
    for kind in (OpenAIResponsesModel, OpenAIChatCompletionsModel):
        asked = []

        @function_tool
        def weather(city: str) -> str:
            """The weather of a city."""
            asked.append(city)
            return "sunny"

        assert Runner.run_sync(agent(kind, tools=[weather]), TOOL_PROMPT).final_output and asked


def structured():
    for kind in (OpenAIResponsesModel, OpenAIChatCompletionsModel):
        result = Runner.run_sync(agent(kind, output_type=City), HELLO)
        assert result.final_output.city


def error(kind, status, key):
    raises(kind, lambda: Runner.run_sync(agent(key=key), HELLO), status)


def error_401():
    error(openai.AuthenticationError, 401, "rg-run-nobody")


def error_402():
    run = Run(cost_limit_usd="0.0000001")
    error(openai.APIStatusError, 402, run.key)
    run.refused("cost_limit_exceeded", 1)


def error_403():
    run = Run()
    run.close()
    error(openai.PermissionDeniedError, 403, run.key)


def error_429():
    run = Run(call_limit=1)
    Runner.run_sync(agent(key=run.key), HELLO)
    error(openai.RateLimitError, 429, run.key)
    run.refused("call_limit_exceeded", 1)


client.call("chat", whole(OpenAIChatCompletionsModel))
client.call("chat streamed", streamed(OpenAIChatCompletionsModel))
client.call("tools", tools)
client.call("structured output", structured)
client.call("responses", whole(OpenAIResponsesModel))
client.call("responses streamed", streamed(OpenAIResponsesModel))
client.call("error 401", error_401)
client.call("error 402, asked once", error_402)
client.call("error 403", error_403)
client.call("error 429, asked once", error_429)
client.charged()
