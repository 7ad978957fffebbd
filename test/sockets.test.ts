import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_LIMITS } from "../src/http/options.js";
import { post, RawClient, serve, until, wideContext } from "./harness.js";

const LONG = { reply: () => "x".repeat(10_000), tokenDelayMs: 2 };

function completion(fields: object = {}): string {
  return JSON.stringify({ model: "fake", prompt: "x", max_tokens: 400, ...fields });
}

test("a body that stops half-way is answered with 408 and the connection is closed", async (t) => {
  const limits = { ...DEFAULT_LIMITS, bodyIdleMs: 60 };
  const { port } = await serve(t, { options: { limits } });
  const raw = new RawClient(port).post("/v1/completions", '{"model":', 100);
  await until(() => raw.closed, "the connection is closed");
  assert.match(raw.received, /^HTTP\/1\.1 408 Request Timeout\r\n/);
  assert.match(raw.received, /"code":"request_timeout"/);
});

test("a body that trickles in is answered with 408 once its time is over", async (t) => {
  const limits = { ...DEFAULT_LIMITS, bodyIdleMs: 200, bodyTotalMs: 300 };
  const { port } = await serve(t, { options: { limits } });
  const raw = new RawClient(port).post("/v1/completions", " ", 1000);
  const trickle = setInterval(() => raw.send(" "), 20);
  await until(() => raw.closed, "the connection is closed");
  clearInterval(trickle);
  assert.match(raw.received, /^HTTP\/1\.1 408 /);
});

test("a body over the limit is a 413, announced or chunked, and the connection goes on", async (t) => {
  const limits = { ...DEFAULT_LIMITS, bodyBytes: 1000 };
  const { port, url } = await serve(t, { options: { limits } });
  const announced = new RawClient(port).post("/v1/completions", "x".repeat(5000));
  await until(() => announced.received.includes("content_too_large"), "413");
  assert.match(announced.received, /^HTTP\/1\.1 413 Payload Too Large\r\n/);
  announced.received = "";
  announced.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
  await until(() => announced.received.includes("200 OK"), "the connection serves on");

  const chunked = new RawClient(port).send(
    "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
  );
  for (let i = 0; i < 3; i++) chunked.send(`1f4\r\n${"x".repeat(500)}\r\n`);
  await until(() => chunked.received.includes("content_too_large"), "413");

  const response = await post(`${url}/v1/completions`, completion({ prompt: "x".repeat(2000) }));
  assert.equal(response.status, 413);
  const exact = completion().padEnd(1000);
  assert.equal((await post(`${url}/v1/completions`, exact)).status, 200);
});

test("a body may come in pieces, and chunked", async (t) => {
  const { port } = await serve(t, { reply: () => "ok" });
  const body = completion();
  const raw = new RawClient(port).post("/v1/completions", body.slice(0, 20), body.length);
  await new Promise((resolve) => setTimeout(resolve, 20));
  raw.send(body.slice(20));
  await until(() => raw.received.includes('"text":"ok"'), "the answer");
  raw.received = "";
  raw.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  raw.send(`5\r\n${body.slice(0, 5)}\r\n`);
  raw.send(`${(body.length - 5).toString(16)}\r\n${body.slice(5)}\r\n0\r\n\r\n`);
  await until(() => raw.received.includes('"text":"ok"'), "the answer on the same connection");
});

test("a client that vanishes is cancelled before its next token, streamed or not", async (t) => {
  for (const stream of [true, false]) {
    const { port, generator } = await serve(t, { tokenDelayMs: 3_600_000 });
    const raw = new RawClient(port).post("/v1/completions", completion({ stream }));
    await until(() => generator.running === 1, "it runs");
    if (stream) await until(() => raw.received.includes("data: "), "it streams");
    raw.socket.destroy();
    await until(() => generator.cancelled === 1, "it is cancelled");
  }
});

test("the openai client cancels a stream by leaving it", async (t) => {
  const { client, generator } = await serve(t, LONG);
  const stream = await client.completions.create({ model: "fake", prompt: "x", stream: true });
  for await (const _ of stream) break;
  await until(() => generator.cancelled === 1, "it is cancelled");
});

test("a client that left while its body was read costs nothing", async (t) => {
  const { port, generator, url } = await serve(t);
  const raw = new RawClient(port).post("/v1/completions", '{"model"', 100);
  await new Promise((resolve) => setTimeout(resolve, 20));
  raw.socket.destroy();
  assert.equal((await post(`${url}/v1/completions`, completion())).status, 200);
  assert.equal(generator.requests.length, 1);
});

test("a slow reader gets every event, in order, also those that had to wait", async (t) => {
  const reply = "0123456789".repeat(6000);
  const { port, generator } = await serve(t, {
    reply: () => reply,
    context: wideContext,
    options: { limits: { ...DEFAULT_LIMITS, waitingBytes: 64 << 20 } },
  });
  const raw = new RawClient(port).post(
    "/v1/completions",
    completion({ stream: true, max_tokens: reply.length }),
  );
  raw.socket.pause();
  await until(() => generator.requests.length === 1 && generator.running === 0, "all is said");
  raw.socket.resume();
  await until(() => raw.received.includes("[DONE]"), "the end of the stream", 20_000);
  const texts = [...raw.received.matchAll(/"text":"(\d?)"/g)].map(([, text]) => text);
  assert.equal(texts.join(""), reply);
});

test("a client that does not read at all is dropped and its generation cancelled", async (t) => {
  const limits = { ...DEFAULT_LIMITS, waitingBytes: 1 << 20 };
  const { port, generator } = await serve(t, {
    reply: () => "x".repeat(100_000),
    context: wideContext,
    options: { limits },
  });
  const body = completion({ stream: true, max_tokens: 100_000 });
  const raw = new RawClient(port).post("/v1/completions", body);
  raw.socket.pause();
  await until(() => generator.cancelled === 1, "it is cancelled", 20_000);
});

test("a long answer that is not streamed arrives whole", async (t) => {
  const reply = "é".repeat(30_000);
  const { client } = await serve(t, { reply: () => reply, context: wideContext });
  const answer = await client.completions.create({
    model: "fake",
    prompt: "x",
    max_tokens: 60_000,
    logprobs: 5,
  });
  assert.equal(answer.choices[0]?.text, reply);
  assert.equal(answer.choices[0]?.logprobs?.tokens?.length, 60_000);
});

test("one connection serves request after request, and pipelined ones that need no waiting", async (t) => {
  const { port } = await serve(t, { reply: () => "ok" });
  const raw = new RawClient(port);
  for (let i = 0; i < 3; i++) {
    raw.received = "";
    raw.post("/v1/completions", completion({ stream: i === 1 }));
    await until(() => /"finish_reason":"stop"/.test(raw.received), "an answer");
    await until(() => i !== 1 || raw.received.endsWith("0\r\n\r\n"), "the end of the chunks");
  }
  raw.received = "";
  raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5));
  await until(() => raw.received.split("200 OK").length === 6, "five answers");
});

test("32 streams at once all complete", async (t) => {
  const { client } = await serve(t, {
    reply: ({ sampling }) => `${sampling.seed}!`,
    tokenDelayMs: 1,
  });
  const texts = await Promise.all(
    Array.from({ length: 32 }, async (_, seed) => {
      let text = "";
      const body = { model: "fake", prompt: "x", seed, stream: true } as const;
      for await (const chunk of await client.completions.create(body)) {
        text += chunk.choices[0]?.text ?? "";
      }
      return text;
    }),
  );
  assert.deepEqual(
    texts,
    Array.from({ length: 32 }, (_, seed) => `${seed}!`),
  );
});
