"""Anthropic's SDK for Python: messages, of Anthropic's models and of others, and models."""

import anthropic
from plane import CITY, HELLO, TOOL_PROMPT, Client, Run, raises

CLAUDE = "claude-haiku-4-5"
OTHER = "gpt-4o-mini"
SAY = [{"role": "user", "content": HELLO}]
ASK = {"model": CLAUDE, "max_tokens": 300}
TOOLS = [{"name": "weather", "description": "The weather.", "input_schema": CITY}]

client = Client("anthropic (Python)")
sdk = anthropic.Anthropic(api_key=client.run.key)


def sim(directive):
    return [{"role": "user", "content": f"{HELLO} [[sim {directive}]]"}]


def of(run, **options):
    return anthropic.Anthropic(api_key=run.key, **options)


def messages(model):
    def ask():
        bearer = anthropic.Anthropic(auth_token=client.run.key)
        for each in (sdk, bearer):
            answer = each.messages.create(model=model, max_tokens=300, messages=SAY)
            assert answer.content[0].text and answer.usage.output_tokens > 0
            assert answer.stop_reason in ("end_turn", "max_tokens"), answer.stop_reason

    return ask


def streamed(model):
    def ask():
        with sdk.messages.stream(model=model, max_tokens=300, messages=SAY) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert text and final.content[0].text == text and final.usage.output_tokens > 0

    return ask


def counted(model):
    def ask():
        run = Run()
        each = of(run)
        more = {"system": "Be brief.", "tools": TOOLS}
        count = each.messages.count_tokens(model=model, messages=SAY, **more)
        beta = each.beta.messages.count_tokens(model=model, messages=SAY, **more)
        assert beta.input_tokens == count.input_tokens > 0
        run.attempts(0)
        answer = each.messages.create(model=model, max_tokens=300, messages=SAY, **more)
        billed = answer.usage.input_tokens
        # Anthropic counts what it bills; for others the gateway tells the most that it can be.
        exact = model == CLAUDE
        assert billed == count.input_tokens if exact else billed <= count.input_tokens, billed

    return ask


def tools():
    ask = [{"role": "user", "content": TOOL_PROMPT}]
    for model in (CLAUDE, OTHER):
        first = sdk.messages.create(model=model, max_tokens=300, messages=ask, tools=TOOLS)
        assert first.stop_reason == "tool_use", first.stop_reason
        use = next(block for block in first.content if block.type == "tool_use")
        assert use.name == "weather" and "city" in use.input
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
        more = [
            *ask,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result, {"type": "text", "text": "Now say it."}]},
        ]
        second = sdk.messages.create(model=model, max_tokens=300, messages=more, tools=TOOLS)
        assert second.content[0].type == "text" and second.content[0].text


def tools_streamed():
    ask = [{"role": "user", "content": TOOL_PROMPT}]
    for model in (CLAUDE, OTHER):
        with sdk.messages.stream(
            model=model, max_tokens=300, messages=ask, tools=TOOLS
        ) as stream:
            final = stream.get_final_message()
        use = next(block for block in final.content if block.type == "tool_use")
        assert use.name == "weather" and "city" in use.input


def error_400():
    ask = lambda: sdk.messages.create(**ASK, messages=SAY, extra_body={"bogus": 1})
    error = raises(anthropic.BadRequestError, ask, 400)
    assert error.body["error"]["type"] == "invalid_request_error", error.body
    ask = lambda: sdk.messages.create(model="no-such-model", max_tokens=9, messages=SAY)
    raises(anthropic.BadRequestError, ask, 400)


def error_401():
    stranger = anthropic.Anthropic(api_key="rg-run-nobody")
    ask = lambda: stranger.messages.create(**ASK, messages=SAY)
    error = raises(anthropic.AuthenticationError, ask, 401)
    assert error.body["error"]["type"] == "authentication_error", error.body


def error_402():
    run = Run(cost_limit_usd="0.0000001")
    ask = lambda: of(run).messages.create(**ASK, messages=SAY)
    error = raises(anthropic.PaymentRequiredError, ask, 402)
    assert error.body["error"]["type"] == "billing_error", error.body
    run.refused("cost_limit_exceeded", 1)


def error_403():
    run = Run()
    run.close()
    ask = lambda: of(run).messages.create(**ASK, messages=SAY)
    error = raises(anthropic.PermissionDeniedError, ask, 403)
    assert error.body["error"]["type"] == "permission_error", error.body


def error_404():
    ask = lambda: sdk.post("/v1/no/such/path", cast_to=object, body={})
    raises(anthropic.NotFoundError, ask, 404)


def error_429():
    run = Run(call_limit=1)
    ask = lambda: of(run).messages.create(**ASK, messages=SAY)
    ask()
    error = raises(anthropic.RateLimitError, ask, 429)
    assert error.body["error"]["type"] == "rate_limit_error", error.body
    run.refused("call_limit_exceeded", 1)


def error_5xx():
    run = Run()
    ask = lambda: of(run, max_retries=1).messages.create(
        **ASK, messages=sim("status=500 retry_after=1")
    )
    raises(anthropic.InternalServerError, ask, 502)
    run.attempts(2)


def broken_stream():
    for model in (CLAUDE, OTHER):
        ask = lambda: list(
            sdk.messages.create(
                model=model, max_tokens=300, messages=sim("cut=3"), stream=True
            )
        )
        try:
            ask()
        except anthropic.APIError:
            continue
        raise AssertionError(f"{model}: nothing was raised")


def timeout():
    hasty = sdk.with_options(timeout=0.3, max_retries=0)
    ask = lambda: hasty.messages.create(**ASK, messages=sim("delay_ms=3000"))
    raises(anthropic.APITimeoutError, ask)


def abort():
    run = Run()
    slow = sim("tokens=40 chunk_delay_ms=50")
    stream = of(run).messages.create(**ASK, messages=slow, stream=True)
    for _ in range(4):
        next(stream)
    stream.close()
    run.left()


def models():
    """The SDK pages through Anthropic's list until it is told that there is no more."""
    found = list(sdk.models.list())
    assert CLAUDE in [model.id for model in found], found
    assert all(model.type == "model" and model.display_name for model in found)


client.call("messages", messages(CLAUDE))
client.call("messages streamed", streamed(CLAUDE))
client.call("messages, OpenAI's model", messages(OTHER))
client.call("messages streamed, OpenAI's model", streamed(OTHER))
client.call("count tokens", counted(CLAUDE))
client.call("count tokens, OpenAI's model", counted(OTHER))
client.call("tools", tools)
client.call("tools streamed", tools_streamed)
client.call("models", models)
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
