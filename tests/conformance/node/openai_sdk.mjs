// OpenAI's SDK for JavaScript: chat completions, embeddings, models and responses.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { all, CITY, Client, HELLO, raises, Run, TOOL_PROMPT } from "./plane.mjs";

const MODEL = "gpt-4o-mini";
const CLAUDE = "claude-haiku-4-5";
const say = (content) => [{ role: "user", content }];
const SAY = say(HELLO);
const sim = (directive) => say(`${HELLO} [[sim ${directive}]]`);
const tools = [{ type: "function", function: { name: "weather", parameters: CITY } }];
const of = (run, options = {}) => new OpenAI({ apiKey: run.key, ...options });
const chat = (sdk, more = {}) =>
  sdk.chat.completions.create({ model: MODEL, messages: SAY, ...more });
const text = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

const client = await Client.of("openai (Node)");
const sdk = of(client.run);

await client.call("chat", async () => {
  const answer = await chat(sdk);
  assert.ok(answer.choices[0].message.content && answer.usage.completion_tokens > 0);
});

await client.call("chat streamed", async () => {
  const whole = await chat(sdk, { seed: 7 });
  const options = { include_usage: true };
  const chunks = await all(await chat(sdk, { seed: 7, stream: true, stream_options: options }));
  assert.equal(text(chunks), whole.choices[0].message.content);
  assert.deepEqual(chunks.at(-1).usage, whole.usage);
});

await client.call("tools", async () => {
  const messages = say(TOOL_PROMPT);
  const first = await chat(sdk, { messages, tools });
  const { message, finish_reason } = first.choices[0];
  assert.equal(finish_reason, "tool_calls");
  assert.equal(message.tool_calls[0].function.name, "weather");
  assert.ok("city" in JSON.parse(message.tool_calls[0].function.arguments));
  const result = { role: "tool", tool_call_id: message.tool_calls[0].id, content: "sunny" };
  const more = [...messages, message, result, ...say("And now say it.")];
  assert.ok((await chat(sdk, { messages: more, tools })).choices[0].message.content);
});

await client.call("tools streamed", async () => {
  const messages = say(TOOL_PROMPT);
  const stream = sdk.chat.completions.stream({ model: MODEL, messages, tools });
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.tool_calls[0].function.name, "weather");
});

await client.call("chat, Anthropic's model", async () => {
  const answer = await chat(sdk, { model: CLAUDE });
  assert.ok(answer.choices[0].message.content && answer.usage.completion_tokens > 0);
  assert.ok(text(await all(await chat(sdk, { model: CLAUDE, stream: true }))));
});

await client.call("embeddings", async () => {
  const ask = { model: "text-embedding-3-small", input: ["one", "two"], dimensions: 8 };
  const usual = await sdk.embeddings.create(ask); // The SDK asks for base64 and decodes it.
  const floats = await sdk.embeddings.create({ ...ask, encoding_format: "float" });
  const base64 = await sdk.embeddings.create({ ...ask, encoding_format: "base64" });
  assert.deepEqual(usual.data.map((one) => one.embedding.length), [8, 8]);
  usual.data.forEach((one, i) =>
    one.embedding.forEach((value, j) =>
      assert.ok(Math.abs(value - floats.data[i].embedding[j]) < 1e-6),
    ),
  );
  assert.equal(typeof base64.data[0].embedding, "string");
});

await client.call("models", async () => {
  const ids = (await all(sdk.models.list())).map((model) => model.id);
  assert.ok(ids.includes(MODEL));
  assert.equal((await sdk.models.retrieve(MODEL)).id, MODEL);
});

await client.call("responses", async () => {
  const answer = await sdk.responses.create({ model: MODEL, input: HELLO });
  assert.ok(answer.output_text && answer.usage.output_tokens > 0);
  const tool = { type: "function", name: "weather", parameters: CITY, strict: true };
  const called = await sdk.responses.create({ model: MODEL, input: TOOL_PROMPT, tools: [tool] });
  const calls = called.output.filter((item) => item.type === "function_call");
  assert.deepEqual(calls.map((item) => item.name), ["weather"]);
});

await client.call("responses streamed", async () => {
  for (const model of [MODEL, CLAUDE]) {
    const stream = sdk.responses.stream({ model, input: HELLO });
    const events = await all(stream);
    const said = events.filter((event) => event.type === "response.output_text.delta");
    const final = await stream.finalResponse();
    assert.equal(final.output_text, said.map((event) => event.delta).join(""));
    assert.ok(final.output_text && final.usage.output_tokens > 0);
  }
});

await client.call("error 400", async () => {
  const error = await raises(OpenAI.BadRequestError, () => chat(sdk, { bogus: 1 }), 400);
  assert.equal(error.code, "parameter_not_allowed");
  assert.equal(error.param, "bogus");
});

await client.call("error 401", async () => {
  const stranger = new OpenAI({ apiKey: "rg-run-nobody" });
  const error = await raises(OpenAI.AuthenticationError, () => chat(stranger), 401);
  assert.equal(error.code, "invalid_key");
});

await client.call("error 402, asked once", async () => {
  const run = await Run.register({ cost_limit_usd: "0.0000001" });
  const error = await raises(OpenAI.APIError, () => chat(of(run)), 402);
  assert.equal(error.code, "cost_limit_exceeded");
  await run.refused("cost_limit_exceeded", 1);
});

await client.call("error 403", async () => {
  const run = await Run.register();
  await run.close();
  const error = await raises(OpenAI.PermissionDeniedError, () => chat(of(run)), 403);
  assert.equal(error.code, "run_closed");
});

await client.call("error 404", async () => {
  await raises(OpenAI.NotFoundError, () => sdk.models.retrieve("no-such-model"), 404);
  await raises(OpenAI.NotFoundError, () => sdk.post("/no/such/path", { body: {} }), 404);
});

await client.call("error 429, asked once", async () => {
  const run = await Run.register({ call_limit: 1 });
  await chat(of(run));
  const error = await raises(OpenAI.RateLimitError, () => chat(of(run)), 429);
  assert.equal(error.code, "call_limit_exceeded");
  await run.refused("call_limit_exceeded", 1);
});

await client.call("error 5xx, retried", async () => {
  const run = await Run.register();
  const messages = sim("status=500 retry_after=1");
  const ask = () => chat(of(run, { maxRetries: 1 }), { messages });
  const error = await raises(OpenAI.InternalServerError, ask, 502);
  assert.equal(error.code, "upstream_error");
  await run.attempts(2);
});

await client.call("broken stream", async () => {
  const messages = sim("cut=3");
  const ask = async () => all(await chat(sdk, { messages, stream: true }));
  await raises(OpenAI.APIError, ask);
});

await client.call("timeout", async () => {
  const messages = sim("delay_ms=3000");
  const hasty = of(client.run, { timeout: 300, maxRetries: 0 });
  await raises(OpenAI.APIConnectionTimeoutError, () => chat(hasty, { messages }));
});

await client.call("client abort", async () => {
  const run = await Run.register();
  const messages = sim("tokens=40 chunk_delay_ms=50");
  const stream = await chat(of(run), { messages, stream: true });
  let seen = 0;
  for await (const _ of stream) if (++seen === 3) break;
  await run.left();
});

await client.charged();
