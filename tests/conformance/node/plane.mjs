// What every client's calls share: runs from the control plane, and the lines of the report.

import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

export const HELLO = "Say hello.";
export const TOOL_PROMPT = "Please call a tool.";
export const CITY = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

async function ask(method, path, body) {
  const answer = await fetch(process.env.RUNGATE_CONTROL + path, {
    method,
    body: body && JSON.stringify(body),
    headers: {
      authorization: `Bearer ${process.env.ADMIN_TOKEN}`,
      "content-type": "application/json",
    },
  });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}

export class Run {
  static async register(fields = {}) {
    const made = await ask("POST", "/runs", {
      cost_limit_usd: "5",
      status: "running",
      ...fields,
    });
    const run = new Run();
    run.id = made.run_id;
    run.key = made.token;
    return run;
  }

  usage() {
    return ask("GET", `/runs/${this.id}/usage`);
  }

  async calls() {
    return (await ask("GET", `/runs/${this.id}/calls`)).data;
  }

  close() {
    return ask("POST", `/runs/${this.id}/close`, { mode: "drain", wait_seconds: 10 });
  }

  /** Holds that the run was refused this often, for this reason and no other. */
  async refused(code, times) {
    await until(async () => ((await this.usage()).refusals[code] ?? 0) >= times);
    await pause(300); // A retry too many would come within this time.
    assert.deepEqual((await this.usage()).refusals, { [code]: times });
  }

  /** Holds that the provider was asked this often, failures included. */
  async attempts(times) {
    await until(async () => (await this.calls()).length >= times);
    await pause(300);
    assert.equal((await this.calls()).length, times);
  }

  /** Holds that the one call whose client went away is charged by what was made. */
  async left() {
    await this.attempts(1);
    const [call] = await this.calls();
    assert.equal(call.status, 499);
    assert.ok(Number(call.cost_usd) > 0, JSON.stringify(call));
  }
}

/** Waits until `holds`; usage lags behind the answers by moments. */
async function until(holds) {
  const deadline = Date.now() + 10_000;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, "it did not come to hold");
    await pause(50);
  }
}

export class Client {
  static async of(name) {
    const client = new Client();
    client.name = name;
    client.run = await Run.register();
    return client;
  }

  /** Calls `work` and writes down how it went. */
  async call(what, work) {
    let result = "ok";
    try {
      await work();
    } catch (error) {
      result = `${error.constructor.name}: ${error.message}`.replace(/\s+/g, " ").slice(0, 400);
    }
    appendFileSync(process.env.CONFORMANCE_REPORT, `${this.name}\t${what}\t${result}\n`);
  }

  /** The last line: the run of this client's calls has spent, and its bill is final. */
  charged() {
    return this.call("charged", async () => {
      const bill = await this.run.close();
      assert.equal(bill.settlement, "final");
      assert.ok(Number(bill.spent_usd) > 0, JSON.stringify(bill));
    });
  }
}

/** Holds that `work` fails with exactly `kind`, and returns that. */
export async function raises(kind, work, status) {
  let error;
  try {
    await work();
  } catch (caught) {
    error = caught;
  }
  assert.ok(error, `nothing was raised instead of ${kind.name}`);
  assert.equal(error.constructor.name, kind.name, error.message);
  if (status !== undefined) assert.equal(error.status, status);
  return error;
}

/** Everything that a stream yields. */
export async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}
