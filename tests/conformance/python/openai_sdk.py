"""OpenAI's SDK for Python: chat completions, embeddings, models and responses."""

import openai
from plane import CITY, HELLO, TOOL_PROMPT, Client, Run, raises

MODEL = "gpt-4o-mini"
CLAUDE = "claude-haiku-4-5"
SAY = [{"role": "user", "content": HELLO}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]

client = Client("openai (Python)")
sdk = openai.OpenAI(api_key=client.run.key)


def sim(directive):
    return [{"role": "user", "content": f"{HELLO} [[sim {directive}]]"}]


def of(run, **options):
    return openai.OpenAI(api_key=run.key, **options)


def chat():
    answer = sdk.chat.completions.create(model=MODEL, messages=SAY)
    assert answer.choices[0].message.content and answer.usage.completion_tokens > 0


def chat_streamed():
    whole = sdk.chat.completions.create(model=MODEL, messages=SAY, seed=7)
    stream = sdk.chat.completions.create(
        model=MODEL,
        messages=SAY,
        seed=7,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


def tools():
    ask = [{"role": "user", "content": TOOL_PROMPT}]
    first = sdk.chat.completions.create(model=MODEL, messages=ask, tools=TOOLS)
    assert first.choices[0].finish_reason == "tool_calls"
    message = first.choices[0].message
    call = message.tool_calls[0]
    assert call.function.name == "weather" and '"city"' in call.function.arguments
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    more = [{"role": "user", "content": "And now say it."}]
    second = sdk.chat.completions.create(
        model=MODEL, messages=[*ask, message, result, *more], tools=TOOLS
    )
    assert second.choices[0].message.content


def tools_streamed():
    ask = [{"role": "user", "content": TOOL_PROMPT}]
    with sdk.chat.completions.stream(model=MODEL, messages=ask, tools=TOOLS) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.name == "weather"


def chat_of_claude():
    answer = sdk.chat.completions.create(model=CLAUDE, messages=SAY)
    assert answer.choices[0].message.content and answer.usage.completion_tokens > 0
    stream = sdk.chat.completions.create(model=CLAUDE, messages=SAY, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def embeddings():
    ask = {"model": "text-embedding-3-small", "input": ["one", "two"], "dimensions": 8}
    usual = sdk.embeddings.create(**ask)  # The SDK asks for base64 and decodes it.
    floats = sdk.embeddings.create(**ask, encoding_format="float")
    base64 = sdk.embeddings.create(**ask, encoding_format="base64")
    assert [len(one.embedding) for one in usual.data] == [8, 8]
    for one, other in zip(usual.data, floats.data, strict=True):
        assert all(abs(a - b) < 1e-6 for a, b in zip(one.embedding, other.embedding, strict=True))
    assert isinstance(base64.data[0].embedding, str)
    assert usual.usage.prompt_tokens > 0


def models():
    assert MODEL in [model.id for model in sdk.models.list()]
    assert sdk.models.retrieve(MODEL).id == MODEL


def responses():
    answer = sdk.responses.create(model=MODEL, input=HELLO)
    assert answer.output_text and answer.usage.output_tokens > 0
    tool = {"type": "function", "name": "weather", "parameters": CITY, "strict": True}
    answer = sdk.responses.create(model=MODEL, input=TOOL_PROMPT, tools=[tool])
    assert [item.name for item in answer.output if item.type == "function_call"] == ["weather"]


def responses_streamed():
    for model in (MODEL, CLAUDE):
        with sdk.responses.stream(model=model, input=HELLO) as stream:
            text = "".join(
                event.delta for event in stream if event.type == "response.output_text.delta"
            )
            final = stream.get_final_response()
        assert text and final.output_text == text and final.usage.output_tokens > 0


def error_400():
    ask = lambda **more: sdk.chat.completions.create(model=MODEL, messages=SAY, **more)
    error = raises(openai.BadRequestError, lambda: ask(extra_body={"bogus": 1}), 400)
    assert error.code == "parameter_not_allowed" and error.param == "bogus", error.body


def error_401():
    stranger = openai.OpenAI(api_key="rg-run-nobody")
    ask = lambda: stranger.chat.completions.create(model=MODEL, messages=SAY)
    assert raises(openai.AuthenticationError, ask, 401).code == "invalid_key"


def error_402():
    run = Run(cost_limit_usd="0.0000001")
    ask = lambda: of(run).chat.completions.create(model=MODEL, messages=SAY)
    assert raises(openai.APIStatusError, ask, 402).code == "cost_limit_exceeded"
    run.refused("cost_limit_exceeded", 1)
    ask = lambda: of(run).responses.create(model=MODEL, input=HELLO)
    assert raises(openai.APIStatusError, ask, 402).code == "cost_limit_exceeded"
    run.refused("cost_limit_exceeded", 2)


def error_403():
    run = Run()
    run.close()
    ask = lambda: of(run).chat.completions.create(model=MODEL, messages=SAY)
    assert raises(openai.PermissionDeniedError, ask, 403).code == "run_closed"


def error_404():
    ask = lambda: sdk.models.retrieve("no-such-model")
    raises(openai.NotFoundError, ask, 404)
    ask = lambda: sdk.post("/no/such/path", cast_to=object, body={})
    assert raises(openai.NotFoundError, ask, 404).code == "not_found"


def error_429():
    run = Run(call_limit=1)
    ask = lambda: of(run).chat.completions.create(model=MODEL, messages=SAY)
    ask()
    assert raises(openai.RateLimitError, ask, 429).code == "call_limit_exceeded"
    run.refused("call_limit_exceeded", 1)


def error_5xx():
    run = Run()
    ask = lambda: of(run, max_retries=1).chat.completions.create(
        model=MODEL, messages=sim("status=500 retry_after=1")
    )
    assert raises(openai.InternalServerError, ask, 502).code == "upstream_error"
    run.attempts(2)


def broken_stream():
    ask = lambda: list(
        sdk.chat.completions.create(model=MODEL, messages=sim("cut=3"), stream=True)
    )
    raises(openai.APIError, ask)


def timeout():
    slow = sim("delay_ms=3000")
    hasty = sdk.with_options(timeout=0.3, max_retries=0)
    ask = lambda: hasty.chat.completions.create(model=MODEL, messages=slow)
    raises(openai.APITimeoutError, ask)


def abort():
    run = Run()
    slow = sim("tokens=40 chunk_delay_ms=50")
    stream = of(run).chat.completions.create(model=MODEL, messages=slow, stream=True)
    for _ in range(3):
        next(stream)
    stream.close()
    run.left()


client.call("chat", chat)
client.call("chat streamed", chat_streamed)
client.call("tools", tools)
client.call("tools streamed", tools_streamed)
client.call("chat, Anthropic's model", chat_of_claude)
client.call("embeddings", embeddings)
client.call("models", models)
client.call("responses", responses)
client.call("responses streamed", responses_streamed)
client.call("error 400", error_400)
client.call("error 401", error_401)
client.call("error 402, asked once", error_402)
client.call("error 403", error_403)
client.call("error 404", error_404)
client.call("error 429, asked once", error_429)
client.call("error 5xx, retried", error_5xx)
client.call("broken stream", broken_stream)
client.call("timeout", timeout)
client.call("client abort", abort)
client.charged()
