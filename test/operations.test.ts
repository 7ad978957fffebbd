import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { WebSocket } from "ws";
import { fakeContext } from "../src/engine/fake.js";
import { ApiError } from "../src/errors.js";
import type { Generator } from "../src/scheduler/request.js";
import type { Tokenizer } from "../src/text/text.js";
import { post, RawClient, serve as serveFake, until } from "./harness.js";
import { complete, refusal, serve, TINY } from "./support/command.js";

/** Overload, limits, deadlines and shutdown, with the real engine. */

const ADAPTERS = ["--adapters-dir", join(TINY, "adapters")];
const SHORT = { prompt: [1, 2, 3], max_tokens: 16 };
const LONG = { prompt: [1, 2, 3], max_tokens: 240 };

async function readAll(response: Response): Promise<string> {
  assert.equal(response.status, 200);
  return response.text();
}

test("a flood for one adapter does not hold up a request for another", async (context) => {
  const { url } = await serve(context, [...ADAPTERS, "--max-batch", "2"]);
  let answered = 0;
  const flood = Array.from({ length: 50 }, async () => {
    await readAll(await complete(url, { model: "lora", ...LONG }));
    answered += 1;
  });
  while (answered < 2) await setTimeout(1);
  const before = answered;
  const others = ["tiny", "smore-switch"].map((model) => complete(url, { model, ...SHORT }));
  await Promise.all(others.map(async (other) => readAll(await other)));
  const passed = answered - before;
  assert.ok(passed < 25, `${passed} of 48 were answered before two others`);
  await Promise.all(flood);
});

test("what has the lower priority value goes first", async (context) => {
  const { url } = await serve(context, ["--max-batch", "1"]);
  // One connection carries them all, so that they arrive while the long one, which is first, runs.
  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/stream`);
  await once(socket, "open");
  const order: number[] = [];
  const finished = new Promise<void>((resolve) => {
    socket.on("message", (data) => {
      const frame = JSON.parse(String(data));
      assert.equal(frame.error, undefined);
      if (frame.type === "done" && frame.id !== "long") order.push(Number(frame.id.split(":")[1]));
      if (order.length === 6) resolve();
    });
  });
  const send = (id: string, body: object) =>
    socket.send(JSON.stringify({ id, type: "completion", model: "tiny", ...body }));
  send("long", LONG);
  for (const [i, priority] of [2, 2, 2, 2, 1, -1].entries())
    send(`${i}:${priority}`, { ...SHORT, priority });
  await finished;
  socket.close();
  assert.deepEqual(order, [-1, 1, 2, 2, 2, 2]);
  const wrong = await refusal(await complete(url, { model: "tiny", ...SHORT, priority: "high" }));
  assert.deepEqual([wrong.status, wrong.param], [400, "priority"]);
});

function keyFile(context: TestContext, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "smore-keys-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "keys");
  writeFileSync(path, text);
  return path;
}

test("named keys have limits of their own, and their names are in the log", async (context) => {
  const path = keyFile(
    context,
    "# the team\nana:ana-secret:requests_per_minute=2\nben:ben-secret:tokens_per_day=20\n\ncid:cid-secret\n",
  );
  const { url, output } = await serve(context, ["--api-key-file", path, "--log-level", "debug"]);
  const ask = (key: string) =>
    complete(url, { model: "tiny", ...SHORT }, { authorization: `Bearer ${key}` });
  assert.deepEqual(
    [(await ask("ana-secret")).status, (await ask("ana-secret")).status],
    [200, 200],
  );
  const limited = await ask("ana-secret");
  const wait = Number(limited.headers.get("retry-after"));
  assert.ok(wait >= 20 && wait <= 30, `${wait} s until the next of two requests per minute`);
  const { message, ...error } = await refusal(limited);
  assert.deepEqual(error, { status: 429, code: "rate_limit_exceeded", param: null });
  assert.match(message, /2 requests per minute .*"ana"/);

  await readAll(await ask("ben-secret"));
  await readAll(await ask("ben-secret"));
  const spent = await refusal(await ask("ben-secret"));
  assert.deepEqual([spent.status, spent.code], [429, "insufficient_quota"]);

  await readAll(await ask("cid-secret"));
  assert.equal((await ask("other")).status, 401);
  await until(() => output().includes('"client":"cid"'), "the log names her");
  assert.doesNotMatch(output(), /secret/);
});

test("a generation ends at its deadline, streamed or not", async (context) => {
  const { url } = await serve(context, ["--request-timeout", "100"]);
  const body = { model: "tiny", prompt: [1], max_tokens: 255, n: 100 };
  const header = { "x-request-timeout": "0.05" };
  const late = await refusal(await complete(url, body, header));
  assert.deepEqual([late.status, late.code], [504, "deadline_exceeded"]);
  const stream = await (await complete(url, { ...body, stream: true }, header)).text();
  assert.match(stream, /"code":"deadline_exceeded".*\n\ndata: \[DONE\]\n\n$/s);
  for (const value of ["soon", "-1", "0", "0.0000001", "0.000999", "1e9"]) {
    const wrong = await refusal(await complete(url, body, { "x-request-timeout": value }));
    assert.deepEqual([wrong.status, wrong.param], [400, "X-Request-Timeout"]);
  }
  await readAll(await complete(url, { model: "tiny", ...SHORT }, { "x-request-timeout": "20.5" }));
});

/** Statuses of `count` simultaneous requests in the order of their answers; a refusal says when to come again. */
async function burst(
  url: string,
  count: number,
  answered: (statuses: readonly number[]) => void = () => {},
): Promise<number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: count });
  const body = JSON.stringify({ model: "fake", prompt: "x", max_tokens: 1 });
  const statuses: number[] = [];
  const answers = Array.from({ length: count }, async () => {
    const headers = { "content-type": "application/json" };
    const asked = request(`${url}/v1/completions`, { agent, method: "POST", headers });
    asked.end(body);
    const [response] = await once(asked, "response");
    response.resume();
    if (response.statusCode === 503) assert.equal(response.headers["retry-after"], "1");
    await once(response, "end");
    statuses.push(response.statusCode);
    answered(statuses);
  });
  await Promise.all(answers);
  agent.destroy();
  return statuses;
}

test("of 200 requests at once those that cannot wait are refused at once, without a look at their prompts", async (context) => {
  let tokenized = 0;
  let goOn = () => {};
  const taken = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const { url } = await serveFake(context, {
    context: (generator) => {
      const fake = fakeContext(generator);
      const encode: Tokenizer["encode"] = async (...args) => {
        tokenized += 1;
        await taken; // those that are taken last until all others are answered
        return fake.tokenizer!.encode(...args);
      };
      const held = new Set<object>();
      const reserve: Generator["reserve"] = (requests) => {
        if (held.size >= 20) throw new ApiError("overloaded");
        const room = { requests, release: () => held.delete(room) };
        held.add(room);
        return room;
      };
      return {
        ...fake,
        generator: { reserve, submit: (request) => generator.submit(request) },
        tokenizer: { ...fake.tokenizer!, encode },
      };
    },
  });
  const statuses = await burst(url, 200, (answered) => {
    if (answered.length === 180) goOn();
  });
  assert.deepEqual(statuses, [...Array(180).fill(503), ...Array(20).fill(200)]);
  assert.equal(tokenized, 20);
  assert.equal((await fetch(`${url}/readyz`)).status, 200);
});

test("prompts of too many tokens together are refused", async (context) => {
  const { url } = await serve(context, ["--max-batch", "1", "--max-queue-tokens", "30"]);
  const prompt = Array.from({ length: 20 }, (_, index) => index);
  const asked = Array.from({ length: 6 }, () =>
    complete(url, { model: "tiny", prompt, max_tokens: 100 }),
  );
  const answers = await Promise.all(asked);
  const statuses = answers.map(({ status }) => status);
  assert.ok(statuses.includes(503) && statuses.includes(200), `${statuses}`);
  const refused = await refusal(answers.find(({ status }) => status === 503)!);
  assert.match(refused.message, /Prompts of \d+ tokens are waiting/);
});

test("no prompt is tokenized for a request that is refused", async (context) => {
  let tokenized = 0;
  const { url } = await serveFake(context, {
    capacity: 0,
    context: (generator) => {
      const fake = fakeContext(generator);
      const encode = fake.tokenizer!.encode.bind(fake.tokenizer);
      const counting: typeof encode = (...args) => {
        tokenized += 1;
        return encode(...args);
      };
      return { ...fake, tokenizer: { ...fake.tokenizer!, encode: counting } };
    },
  });
  const messages = [{ role: "user", content: "x" }];
  const bodies = [
    ["completions", { model: "fake", prompt: "x" }],
    ["chat/completions", { model: "fake", messages }],
  ] as const;
  for (const [path, body] of bodies) {
    assert.equal((await post(`${url}/v1/${path}`, body)).status, 503);
  }
  assert.equal(tokenized, 0);
});

test("a client that does not read holds up nobody", async (context) => {
  const { url } = await serve(context, ["--max-batch", "8"]);
  const port = Number(new URL(url).port);
  const body = { model: "tiny", prompt: [1], max_tokens: 250, stream: true, logprobs: 20, n: 2 };
  const deaf = Array.from({ length: 3 }, () => {
    const client = new RawClient(port).post("/v1/completions", JSON.stringify(body));
    client.socket.pause();
    context.after(() => client.socket.destroy());
    return client;
  });
  await Promise.all(deaf.map(({ socket }) => once(socket, "connect")));
  const answers = Array.from({ length: 8 }, () => complete(url, { model: "tiny", ...SHORT }));
  await Promise.all(answers.map(async (answer) => readAll(await answer)));
});

test("SIGTERM: unready at once, accepting for the delay, then every stream and socket is ended", async (context) => {
  const { child, url } = await serve(context, ["--drain-delay", "1"]);
  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/stream`);
  const frames: string[] = [];
  socket.on("message", (data) => frames.push(String(data)));
  const closed = once(socket, "close");
  await once(socket, "open");
  const stream = await complete(url, { model: "tiny", ...LONG, stream: true });
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  while ((await fetch(`${url}/readyz`)).status !== 503);
  assert.equal((await fetch(`${url}/livez`)).status, 200);
  await readAll(await complete(url, { model: "tiny", ...SHORT }));
  socket.send(JSON.stringify({ id: "a", type: "completion", model: "tiny", ...SHORT }));
  assert.match(await stream.text(), /data: \[DONE\]/);
  const [code] = (await closed) as [number];
  assert.equal(code, 1001);
  assert.equal(frames.at(-1), '{"id":"a","type":"done"}');
  assert.deepEqual(await exited, [0, null]);
  const refused = connect(Number(new URL(url).port), "127.0.0.1");
  const [error] = (await once(refused, "error")) as [NodeJS.ErrnoException];
  assert.equal(error.code, "ECONNREFUSED");
});
