"""LangChain's OpenAI package, over chat completions and over responses."""

import openai
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from plane import HELLO, TOOL_PROMPT, Client, Run, raises
from pydantic import BaseModel

client = Client("langchain-openai")


class City(BaseModel):
    """A city."""

    city: str


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return "sunny"


def model(key=client.run.key, **more):
    return ChatOpenAI(model="gpt-4o-mini", api_key=key, **more)


def whole(responses):
    def work():
        answer = model(use_responses_api=responses).invoke(HELLO)
        assert answer.text and answer.usage_metadata["output_tokens"] > 0

    return work


def streamed(responses):
    def work():
        chunks = list(model(use_responses_api=responses, stream_usage=True).stream(HELLO))
        assert "".join(chunk.text for chunk in chunks)
        assert any(chunk.usage_metadata for chunk in chunks)

    return work


def tools():
    for responses in (False, True):
        bound = model(use_responses_api=responses).bind_tools([weather])
        first = bound.invoke(TOOL_PROMPT)
        call = first.tool_calls[0]
        assert call["name"] == "weather" and call["args"]["city"]
        result = weather.invoke(call)
        ask = [("user", TOOL_PROMPT), first, result, ("user", "And now say it.")]
        assert bound.invoke(ask).text


def structured():
    answer = model().with_structured_output(City).invoke(HELLO)
    assert answer.city


def embeddings():
    embedder = OpenAIEmbeddings(
        model="text-embedding-3-small", api_key=client.run.key, tiktoken_enabled=False,
        check_embedding_ctx_length=False,
    )
    assert [len(one) for one in embedder.embed_documents(["one", "two"])] == [1536, 1536]


def error(kind, status, key):
    raises(kind, lambda: model(key=key).invoke(HELLO), status)


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
    model(key=run.key).invoke(HELLO)
    error(openai.RateLimitError, 429, run.key)
    run.refused("call_limit_exceeded", 1)


client.call("chat", whole(False))
client.call("chat streamed", streamed(False))
client.call("tools", tools)
client.call("structured output", structured)
client.call("embeddings", embeddings)
client.call("responses", whole(True))
client.call("responses streamed", streamed(True))
client.call("error 401", error_401)
client.call("error 402, asked once", error_402)
client.call("error 403", error_403)
client.call("error 429, asked once", error_429)
client.charged()
