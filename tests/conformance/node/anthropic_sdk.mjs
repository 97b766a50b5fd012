// Anthropic's SDK for JavaScript: messages, of Anthropic's models and of others.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { all, CITY, Client, HELLO, raises, Run, TOOL_PROMPT } from "./plane.mjs";

const CLAUDE = "claude-haiku-4-5";
const OTHER = "gpt-4o-mini";
const say = (content) => [{ role: "user", content }];
const SAY = say(HELLO);
const sim = (directive) => say(`${HELLO} [[sim ${directive}]]`);
const tools = [{ name: "weather", description: "The weather.", input_schema: CITY }];
const of = (run, options = {}) => new Anthropic({ apiKey: run.key, ...options });
const request = (more) => ({ model: CLAUDE, max_tokens: 300, messages: SAY, ...more });
const create = (sdk, more = {}) => sdk.messages.create(request(more));

const client = await Client.of("anthropic (Node)");
const sdk = of(client.run);

for (const [model, of_other] of [[CLAUDE, ""], [OTHER, ", OpenAI's model"]]) {
  await client.call(`messages${of_other}`, async () => {
    const bearer = new Anthropic({ apiKey: null, authToken: client.run.key });
    for (const each of [sdk, bearer]) {
      const answer = await create(each, { model });
      assert.ok(answer.content[0].text && answer.usage.output_tokens > 0);
    }
  });

  await client.call(`messages streamed${of_other}`, async () => {
    const stream = sdk.messages.stream(request({ model }));
    let text = "";
    stream.on("text", (delta) => (text += delta));
    const final = await stream.finalMessage();
    assert.ok(text && final.usage.output_tokens > 0);
    assert.equal(final.content[0].text, text);
  });
}

for (const [model, of_other] of [[CLAUDE, ""], [OTHER, ", OpenAI's model"]]) {
  await client.call(`count tokens${of_other}`, async () => {
    const run = await Run.register();
    const asked = { model, messages: SAY, system: "Be brief.", tools };
    const { input_tokens: count } = await of(run).messages.countTokens(asked);
    assert.ok(count > 0);
    await run.attempts(0);
    const { usage } = await create(of(run), asked);
    // Anthropic counts what it bills; for others the gateway tells the most that it can be.
    assert.ok(model === CLAUDE ? usage.input_tokens === count : usage.input_tokens <= count);
  });
}

await client.call("tools", async () => {
  for (const model of [CLAUDE, OTHER]) {
    const messages = say(TOOL_PROMPT);
    const first = await create(sdk, { model, messages, tools });
    assert.equal(first.stop_reason, "tool_use");
    const use = first.content.find((block) => block.type === "tool_use");
    assert.ok(use.name === "weather" && "city" in use.input);
    const result = { type: "tool_result", tool_use_id: use.id, content: "sunny" };
    const more = [
      ...messages,
      { role: "assistant", content: first.content },
      { role: "user", content: [result, { type: "text", text: "Now say it." }] },
    ];
    const second = await create(sdk, { model, messages: more, tools });
    assert.ok(second.content[0].text);
  }
});

await client.call("tools streamed", async () => {
  for (const model of [CLAUDE, OTHER]) {
    const stream = sdk.messages.stream(request({ model, messages: say(TOOL_PROMPT), tools }));
    const final = await stream.finalMessage();
    const use = final.content.find((block) => block.type === "tool_use");
    assert.ok(use.name === "weather" && "city" in use.input);
  }
});

await client.call("error 400", async () => {
  const error = await raises(Anthropic.BadRequestError, () => create(sdk, { bogus: 1 }), 400);
  assert.equal(error.error.error.type, "invalid_request_error");
  await raises(Anthropic.BadRequestError, () => create(sdk, { model: "no-such-model" }), 400);
});

await client.call("error 401", async () => {
  const stranger = new Anthropic({ apiKey: "rg-run-nobody" });
  const error = await raises(Anthropic.AuthenticationError, () => create(stranger), 401);
  assert.equal(error.error.error.type, "authentication_error");
});

await client.call("error 402, asked once", async () => {
  const run = await Run.register({ cost_limit_usd: "0.0000001" });
  const error = await raises(Anthropic.PaymentRequiredError, () => create(of(run)), 402);
  assert.equal(error.error.error.type, "billing_error");
  await run.refused("cost_limit_exceeded", 1);
});

await client.call("error 403", async () => {
  const run = await Run.register();
  await run.close();
  const error = await raises(Anthropic.PermissionDeniedError, () => create(of(run)), 403);
  assert.equal(error.error.error.type, "permission_error");
});

await client.call("error 404", async () => {
  const ask = () => sdk.post("/v1/no/such/path", { body: {} });
  await raises(Anthropic.NotFoundError, ask, 404);
});

await client.call("error 429, asked once", async () => {
  const run = await Run.register({ call_limit: 1 });
  await create(of(run));
  const error = await raises(Anthropic.RateLimitError, () => create(of(run)), 429);
  assert.equal(error.error.error.type, "rate_limit_error");
  await run.refused("call_limit_exceeded", 1);
});

await client.call("error 5xx, retried", async () => {
  const run = await Run.register();
  const messages = sim("status=500 retry_after=1");
  const ask = () => create(of(run, { maxRetries: 1 }), { messages });
  await raises(Anthropic.InternalServerError, ask, 502);
  await run.attempts(2);
});

await client.call("broken stream", async () => {
  for (const model of [CLAUDE, OTHER]) {
    const messages = sim("cut=3");
    const ask = async () => all(await create(sdk, { model, messages, stream: true }));
    await raises(Anthropic.APIError, ask);
  }
});

await client.call("timeout", async () => {
  const messages = sim("delay_ms=3000");
  const hasty = of(client.run, { timeout: 300, maxRetries: 0 });
  await raises(Anthropic.APIConnectionTimeoutError, () => create(hasty, { messages }));
});

await client.call("client abort", async () => {
  const run = await Run.register();
  const messages = sim("tokens=40 chunk_delay_ms=50");
  const stream = await create(of(run), { messages, stream: true });
  let seen = 0;
  for await (const _ of stream) if (++seen === 4) break;
  await run.left();
});

await client.charged();
