"""LiteLLM, as OpenAI's and as Anthropic's client."""

import litellm
from plane import CITY, DATA, HELLO, TOOL_PROMPT, Client, Run, raises

MODEL = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]

litellm.suppress_debug_info = True
client = Client("litellm")


def ask(text=HELLO, model=MODEL, key=client.run.key, **more):
    base = DATA if model is CLAUDE else DATA + "/v1"
    return litellm.completion(
        model=model,
        api_base=base,
        api_key=key,
        messages=[{"role": "user", "content": text}],
        **more,
    )


def text_of(stream):
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def chat(model):
    def work():
        answer = ask(model=model)
        assert answer.choices[0].message.content and answer.usage.completion_tokens > 0

    return work


def streamed(model):
    def work():
        assert text_of(ask(model=model, stream=True))

    return work


def tools():
    for model in (MODEL, CLAUDE):
        answer = ask(TOOL_PROMPT, model=model, tools=TOOLS)
        assert answer.choices[0].message.tool_calls[0].function.name == "weather"


def tools_streamed():
    for model in (MODEL, CLAUDE):
        chunks = list(ask(TOOL_PROMPT, model=model, tools=TOOLS, stream=True))
        message = litellm.stream_chunk_builder(chunks).choices[0].message
        assert message.tool_calls[0].function.name == "weather"


def openrouter():
    """As OpenRouter's client, which reads the cost from the usage."""
    answer = litellm.completion(
        model="openrouter/gpt-4o-mini",
        api_base=DATA + "/api/v1",
        api_key=client.run.key,
        messages=[{"role": "user", "content": HELLO}],
        extra_body={"usage": {"include": True}},
    )
    assert answer.usage.cost > 0, answer.usage


def embeddings():
    answer = litellm.embedding(
        model="openai/text-embedding-3-small",
        api_base=DATA + "/v1",
        api_key=client.run.key,
        input=["one", "two"],
    )
    assert [len(one["embedding"]) for one in answer.data] == [1536, 1536]


def responses(stream):
    def work():
        answer = litellm.responses(
            model=MODEL,
            api_base=DATA + "/v1",
            api_key=client.run.key,
            input=HELLO,
            stream=stream,
        )
        if stream:
            deltas = [event for event in answer if event.type == "response.output_text.delta"]
            assert deltas
        else:
            assert answer.output[0].content[0].text

    return work


def error(kind, status, key=client.run.key, model=MODEL, **more):
    raises(kind, lambda: ask(model=model, key=key, **more), status)


def error_400():
    error(litellm.BadRequestError, 400, extra_body={"bogus": 1})


def error_401():
    for model in (MODEL, CLAUDE):
        error(litellm.AuthenticationError, 401, key="rg-run-nobody", model=model)


def error_402():
    run = Run(cost_limit_usd="0.0000001")
    error(litellm.APIError, 402, key=run.key)
    run.refused("cost_limit_exceeded", 1)


def error_403():
    run = Run()
    run.close()
    error(litellm.APIError, 403, key=run.key)


def error_429():
    run = Run(call_limit=1)
    ask(key=run.key)
    error(litellm.RateLimitError, 429, key=run.key)
    run.refused("call_limit_exceeded", 1)


client.call("chat", chat(MODEL))
client.call("chat streamed", streamed(MODEL))
client.call("tools", tools)
client.call("tools streamed", tools_streamed)
client.call("embeddings", embeddings)
client.call("cost, as OpenRouter's", openrouter)
client.call("responses", responses(False))
client.call("responses streamed", responses(True))
client.call("messages", chat(CLAUDE))
client.call("messages streamed", streamed(CLAUDE))
client.call("error 400", error_400)
client.call("error 401", error_401)
client.call("error 402, asked once", error_402)
client.call("error 403", error_403)
client.call("error 429, asked once", error_429)
client.charged()
