import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { WebSocket } from "ws";
import { DEFAULT_LIMITS } from "../src/http/options.js";
import { apiKey, serve, until, wideContext } from "./harness.js";

type Frame = Record<string, unknown> & {
  id: unknown;
  type?: string;
  usage?: { completion_tokens: number } | null;
  error?: { message: string; code: string; param: string | null };
  choices?: { text?: string; delta?: { content?: string }; finish_reason: string | null }[];
};

class StreamClient {
  readonly socket: WebSocket;
  readonly frames: Frame[] = [];
  closed: { code: number; reason: string } | null = null;

  constructor(port: number, headers: Record<string, string> = {}) {
    this.socket = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`, { headers });
    this.socket.on("message", (data) => this.frames.push(JSON.parse(String(data))));
    this.socket.on("error", () => {});
    this.socket.on("close", (code, reason) => {
      this.closed = { code, reason: String(reason) };
    });
  }

  static async open(t: TestContext, port: number, headers?: Record<string, string>) {
    const client = new StreamClient(port, headers);
    t.after(() => client.socket.terminate());
    await once(client.socket, "open");
    return client;
  }

  send(frame: unknown): void {
    this.socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  of(id: unknown): Frame[] {
    return this.frames.filter((frame) => frame.id === id);
  }

  async done(id: unknown): Promise<Frame[]> {
    await until(() => this.of(id).at(-1)?.type === "done", `done of ${id}`);
    return this.of(id);
  }

  async error(): Promise<Frame> {
    const seen = this.frames.length;
    const found = () => this.frames.slice(seen).find(({ error }) => error);
    await until(() => found() !== undefined, "an error");
    return found()!;
  }
}

const completion = { type: "completion", model: "fake", prompt: "x", max_tokens: 400 };
const LONG = { reply: () => "x".repeat(10_000), tokenDelayMs: 2 };

test("a WebSocket gets the chunks of the HTTP API under its own id, then done", async (t) => {
  const { port } = await serve(t, { reply: () => "Hé" });
  const client = await StreamClient.open(t, port);
  client.send({ ...completion, id: "a", stream_options: { include_usage: true } });
  const frames = await client.done("a");
  assert.deepEqual(Object.keys(frames[0]!), [
    "id",
    "object",
    "created",
    "model",
    "choices",
    "usage",
  ]);
  assert.equal(frames.map(({ choices }) => choices?.[0]?.text ?? "").join(""), "Hé");
  assert.equal(frames.at(-3)?.choices?.[0]?.finish_reason, "stop");
  assert.equal(frames.at(-2)?.usage?.completion_tokens, 4);
  assert.deepEqual(frames.at(-1), { id: "a", type: "done" });
  client.send({
    id: 7,
    type: "chat.completion",
    model: "fake",
    messages: [{ role: "user", content: "x" }],
    stream: false,
  });
  const chat = await client.done(7);
  assert.equal(chat[0]?.object, "chat.completion.chunk");
  assert.equal(chat.map(({ choices }) => choices?.[0]?.delta?.content ?? "").join(""), "Hé");
});

test("several generations run on one socket, each cancelled on its own", async (t) => {
  const { port, generator } = await serve(t, LONG);
  const client = await StreamClient.open(t, port);
  for (const id of ["a", "b", "1", 1]) client.send({ ...completion, id, max_tokens: 100 });
  await until(() => generator.running === 4, "all run");
  client.send({ id: "b", type: "cancel" });
  const frames = await client.done("b");
  assert.equal(generator.cancelled, 1);
  assert.ok(frames.every(({ choices }) => (choices?.[0]?.finish_reason ?? null) === null));
  const seen = frames.length;
  for (const id of ["a", "1", 1]) {
    assert.equal((await client.done(id)).at(-2)?.choices?.[0]?.finish_reason, "length");
  }
  assert.equal(client.of("b").length, seen, "nothing follows done");
  client.send({ id: "b", type: "cancel" });
  client.send({ ...completion, id: "b", max_tokens: 2 });
  await until(() => client.of("b").length > seen, "the id can be used again");
});

test("a cancel that comes at once still ends with done", async (t) => {
  const { port, generator } = await serve(t, LONG);
  const client = await StreamClient.open(t, port);
  client.send({ ...completion, id: "a" });
  client.send({ id: "a", type: "cancel" });
  assert.deepEqual(await client.done("a"), [{ id: "a", type: "done" }]);
  await until(() => generator.running === 0, "nothing runs on");
});

test("errors carry the id and leave the socket open", async (t) => {
  const { port } = await serve(t, { reply: () => "ok" });
  const client = await StreamClient.open(t, port);
  for (const [frame, id, code, param] of [
    ["{nonsense", null, "invalid_json"],
    ["[1]", null, "invalid_json"],
    [{ type: "completion" }, null, "invalid_parameter", "id"],
    [{ id: { a: 1 }, type: "completion" }, null, "invalid_parameter", "id"],
    ['{"id":1e400,"type":"completion"}', null, "invalid_parameter", "id"],
    ['{"id":12345678901234567890,"type":"completion"}', null, "invalid_parameter", "id"],
    ['{"id":-0,"type":"completion"}', null, "invalid_parameter", "id"],
    [{ id: "x" }, "x", "invalid_parameter", "type"],
    [{ id: "x", type: "constructor" }, "x", "invalid_parameter", "type"],
    [{ ...completion, id: "y", model: "none" }, "y", "model_not_found", "model"],
    [{ ...completion, id: "y", prompt: "x".repeat(600) }, "y", "context_length_exceeded", "prompt"],
  ] as const) {
    const answer = client.error();
    client.send(frame);
    const { error, ...rest } = await answer;
    assert.deepEqual(rest, { id });
    assert.deepEqual([error?.code ?? "invalid_json", error?.param], [code, param ?? null]);
  }
  client.send({ ...completion, id: "fine" });
  await client.done("fine");
});

test("a frame that is not UTF-8 is refused as a body is, and not repaired", async (t) => {
  const { port } = await serve(t, { reply: () => "ok" });
  const client = await StreamClient.open(t, port);
  const [head, tail] = JSON.stringify({ ...completion, id: "x", prompt: "a|b" }).split("|");
  const answer = client.error();
  client.socket.send(Buffer.concat([Buffer.from(head!), Buffer.from([0xff]), Buffer.from(tail!)]));
  const { id, error } = await answer;
  assert.equal(id, null);
  assert.match(String(error?.message), /a JSON object in UTF-8/);
});

test("an id that is in use is refused, and the running generation goes on", async (t) => {
  const { port } = await serve(t, LONG);
  const client = await StreamClient.open(t, port);
  client.send({ ...completion, id: "a", max_tokens: 50 });
  const refused = client.error();
  client.send({ ...completion, id: "a" });
  assert.equal((await refused).error?.param, "id");
  const frames = await client.done("a");
  assert.equal(frames.filter(({ choices }) => choices).length, 51);
});

test("a generation that fails ends with its error", async (t) => {
  const failure = { after: 2, code: "engine_failed", message: "broken" } as const;
  const { port, generator } = await serve(t, { failure });
  const client = await StreamClient.open(t, port);
  const failed = client.error();
  client.send({ ...completion, id: "a" });
  assert.equal((await failed).error?.message, "broken");
  assert.equal(generator.running, 0);
});

test("a message over the limit closes the socket with 1009 and cancels what ran", async (t) => {
  const limits = { ...DEFAULT_LIMITS, frameBytes: 10_000 };
  const { port, generator } = await serve(t, { ...LONG, options: { limits } });
  const client = await StreamClient.open(t, port);
  client.send({ ...completion, id: "a" });
  await until(() => generator.running === 1, "it runs");
  client.send(" ".repeat(20_000));
  await until(() => client.closed !== null, "the socket is closed");
  assert.equal(client.closed?.code, 1009);
  assert.equal(generator.cancelled, 1);
});

test("a socket that vanishes or does not read cancels its generations", async (t) => {
  const limits = { ...DEFAULT_LIMITS, waitingBytes: 1 << 20 };
  const { port, generator } = await serve(t, {
    reply: () => "x".repeat(100_000),
    context: wideContext,
    options: { limits },
  });
  const gone = await StreamClient.open(t, port);
  gone.send({ ...completion, id: "a", max_tokens: 100_000 });
  await until(() => generator.running === 1, "it runs");
  gone.socket.terminate();
  await until(() => generator.cancelled === 1, "it is cancelled");
  const deaf = await StreamClient.open(t, port);
  deaf.send({ ...completion, id: "a", max_tokens: 100_000 });
  deaf.socket.pause();
  await until(() => generator.cancelled === 2, "it is cancelled too", 20_000);
});

test("keys and origins are checked before the upgrade", async (t) => {
  const { port } = await serve(t, {
    options: { apiKeys: [apiKey("k")], corsOrigin: "http://a.test" },
  });
  const refusal = async (headers: Record<string, string>) => {
    const client = new StreamClient(port, headers);
    const [, response] = await once(client.socket, "unexpected-response");
    client.socket.terminate();
    return response.statusCode;
  };
  const authorization = "Bearer k";
  assert.equal(await refusal({}), 401);
  assert.equal(await refusal({ authorization, origin: "http://b.test" }), 403);
  await StreamClient.open(t, port, { authorization });
  await StreamClient.open(t, port, { authorization, origin: "http://a.test" });
  await StreamClient.open(t, port, { authorization, origin: `http://127.0.0.1:${port}` });
});

test("a page sends its key as a sub-protocol; a wrong one is told by close code 1008", async (t) => {
  const { port } = await serve(t, { options: { apiKeys: [apiKey("k")] } });
  const open = (...protocols: string[]) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`, protocols);
    t.after(() => socket.terminate());
    return socket;
  };
  const right = open("realtime", "openai-insecure-api-key.k");
  await once(right, "open");
  assert.equal(right.protocol, "realtime");
  right.send(JSON.stringify({ ...completion, id: 1, max_tokens: 1 }));
  const [first] = await once(right, "message");
  assert.equal(JSON.parse(String(first)).id, 1);
  const wrong = open("openai-insecure-api-key.x");
  const [code, reason] = await once(wrong, "close");
  assert.deepEqual([code, String(reason)], [1008, "Incorrect API key provided."]);
});

test("draining closes sockets with 1001 once their generations have ended", async (t) => {
  const { server, port } = await serve(t, LONG);
  const busy = await StreamClient.open(t, port);
  const idle = await StreamClient.open(t, port);
  busy.send({ ...completion, id: "a", max_tokens: 60 });
  await until(() => busy.frames.length > 0, "it streams");
  const drained = server.drain();
  await until(() => idle.closed !== null, "the idle one is closed");
  assert.equal(busy.socket.readyState, WebSocket.OPEN);
  const refused = busy.error();
  busy.send({ ...completion, id: "b" });
  assert.equal((await refused).error?.code, "draining");
  await drained;
  await until(() => busy.closed !== null, "the busy one is closed");
  assert.deepEqual([idle.closed?.code, busy.closed?.code], [1001, 1001]);
  assert.equal(busy.of("a").at(-1)?.type, "done");
});

test("no frame, however odd, brings the server down", async (t) => {
  const { port } = await serve(t, { reply: () => "ok" });
  const client = await StreamClient.open(t, port);
  const frame = fc.record(
    {
      id: fc.oneof(fc.string(), fc.integer(), fc.jsonValue()),
      type: fc.constantFrom("completion", "chat.completion", "cancel", "done", "__proto__", 5),
      model: fc.constantFrom("fake", "none", 5),
      prompt: fc.jsonValue(),
      messages: fc.jsonValue(),
    },
    { requiredKeys: [] },
  );
  for (const value of fc.sample(fc.oneof(frame, fc.jsonValue()), 300)) client.send(value);
  client.send({ ...completion, id: "last", max_tokens: 3 });
  await client.done("last");
});
