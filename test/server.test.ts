import assert from "node:assert/strict";
import { test } from "node:test";
import { AuthenticationError } from "openai";
import type { Lifecycle } from "../src/api/context.js";
import { FakeGenerator, fakeContext } from "../src/engine/fake.js";
import { apiKey, post, RawClient, serve, until } from "./harness.js";

const completion = { model: "fake", prompt: "x" };

test("health endpoints follow the server's life", async (t) => {
  const context = fakeContext(new FakeGenerator());
  let lifecycle: Lifecycle = {
    phase: "loading",
    progress: 0.427,
    detail: "packing weights",
    context: null,
  };
  const { url } = await serve(t, { options: { lifecycle: () => lifecycle } });
  const ask = async (path: string) => {
    const response = await fetch(url + path);
    return { status: response.status, body: (await response.json()) as unknown };
  };

  const loading = { status: "loading", progress: 0.427, detail: "packing weights" };
  assert.deepEqual(await ask("/readyz"), { status: 503, body: loading });
  assert.deepEqual(await ask("/health"), { status: 503, body: loading });
  assert.deepEqual(await ask("/livez"), { status: 200, body: { status: "ok" } });
  const early = await post(`${url}/v1/completions`, completion);
  assert.equal(early.status, 503);
  assert.equal(early.headers.get("retry-after"), "2");
  const { error } = (await early.json()) as { error: { code: string; message: string } };
  assert.equal(error.code, "loading");
  assert.equal(error.message, "The model is still loading (42%, packing weights).");
  assert.equal((await ask("/v1/models")).status, 503);

  lifecycle = { phase: "ready", progress: 1, detail: "", context };
  assert.deepEqual(await ask("/readyz"), { status: 200, body: { status: "ok" } });
  assert.equal((await post(`${url}/v1/completions`, completion)).status, 200);

  lifecycle = { phase: "draining", progress: 1, detail: "", context };
  assert.deepEqual(await ask("/readyz"), { status: 503, body: { status: "draining" } });
  assert.equal((await post(`${url}/v1/completions`, completion)).status, 200);

  lifecycle = { phase: "failed", progress: 1, detail: "out of memory", context };
  assert.deepEqual((await ask("/readyz")).body, { status: "failed", detail: "out of memory" });
  const late = await post(`${url}/v1/completions`, completion);
  assert.equal(late.status, 503);
  assert.match(await late.text(), /engine_stopped/);
});

test("models are listed, and each has its own URL", async (t) => {
  const { client, url } = await serve(t, {
    context: (generator) => fakeContext(generator, {}, ["a/b", "tuned"]),
  });
  const { data } = await client.models.list();
  const model = (id: string, parent: string | null) => ({
    id,
    object: "model",
    created: 1_700_000_000,
    owned_by: "smore",
    root: "/models/fake.gguf",
    parent,
    max_model_len: 512,
  });
  assert.deepEqual(data, [model("fake", null), model("a/b", "fake"), model("tuned", "fake")]);
  assert.deepEqual(await client.models.retrieve("a/b"), model("a/b", "fake"));
  const unknown = await fetch(`${url}/v1/models/nobody`);
  assert.equal(unknown.status, 404);
  assert.match(await unknown.text(), /"code":"model_not_found"/);
  assert.equal((await fetch(`${url}/v1/models/%ff`)).status, 404);
});

test("version and metrics answer", async (t) => {
  const { url } = await serve(t);
  assert.deepEqual(await (await fetch(`${url}/version`)).json(), { version: "1.2.3" });
  const metrics = await fetch(`${url}/metrics`);
  assert.equal(metrics.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  assert.equal(await metrics.text(), "smore_test 1\n");
});

test("unknown paths are 404, wrong methods 405 with the right ones", async (t) => {
  const { url, port } = await serve(t);
  const nowhere = await fetch(`${url}/v2/completions`);
  assert.equal(nowhere.status, 404);
  assert.match(await nowhere.text(), /"code":"not_found"/);
  const wrong = await fetch(`${url}/v1/completions`);
  assert.equal(wrong.status, 405);
  assert.equal(wrong.headers.get("allow"), "POST, OPTIONS");
  const deleted = await fetch(`${url}/livez`, { method: "DELETE" });
  assert.equal(deleted.status, 405);
  const upgrade = await fetch(`${url}/v1/stream`);
  assert.deepEqual([upgrade.status, upgrade.headers.get("upgrade")], [426, "websocket"]);
  const raw = new RawClient(port).send("HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2));
  await until(() => raw.received.split("Content-Length: 15").length === 3, "two heads, no bodies");
  assert.ok(!raw.received.includes("{"));
});

test("a request id is taken or given, and comes back with every answer", async (t) => {
  const { url } = await serve(t);
  const ids = async (given?: string) => {
    const headers = given === undefined ? {} : { "x-request-id": given };
    const response = await post(`${url}/v1/completions`, completion, headers);
    const { id } = (await response.json()) as { id: string };
    return { header: response.headers.get("x-request-id"), id };
  };
  assert.deepEqual(await ids("abc-1"), { header: "abc-1", id: "cmpl-abc-1" });
  const made = await ids();
  assert.match(made.header!, /^[0-9a-f]{32}$/);
  assert.equal(made.id, `cmpl-${made.header}`);
  assert.match((await ids("x".repeat(200))).header!, /^[0-9a-f]{32}$/);
  const refused = await post(`${url}/v1/completions`, "{", { "x-request-id": "bad" });
  assert.equal(refused.headers.get("x-request-id"), "bad");
  assert.equal(refused.headers.get("keep-alive"), "timeout=8");
});

test("API keys are asked for below /v1 only, and not of OPTIONS", async (t) => {
  const { url, client } = await serve(t, {
    options: { apiKeys: [apiKey("other"), apiKey("test-key")] },
  });
  const missing = await post(`${url}/v1/completions`, completion);
  assert.equal(missing.status, 401);
  assert.equal(missing.headers.get("www-authenticate"), "Bearer");
  const { error } = (await missing.json()) as { error: Record<string, unknown> };
  assert.match(error.message as string, /^You didn't provide an API key\./);
  assert.deepEqual([error.type, error.param, error.code], ["invalid_request_error", null, null]);
  const wrong = await post(`${url}/v1/completions`, completion, { authorization: "Bearer no" });
  assert.equal(wrong.status, 401);
  assert.match(await wrong.text(), /"code":"invalid_api_key"/);
  assert.equal((await client.completions.create(completion)).model, "fake");
  await assert.rejects(client.withOptions({ apiKey: "no" }).models.list(), AuthenticationError);
  assert.equal((await fetch(`${url}/readyz`)).status, 200);
  assert.equal((await fetch(`${url}/v1/completions`, { method: "OPTIONS" })).status, 204);
});

test("CORS headers come by option, with preflights answered", async (t) => {
  const closed = await serve(t);
  const none = await post(`${closed.url}/v1/completions`, completion, { origin: "http://a.test" });
  assert.equal(none.headers.get("access-control-allow-origin"), null);

  const open = await serve(t, { options: { corsOrigin: "http://a.test" } });
  const preflight = await fetch(`${open.url}/v1/chat/completions`, {
    method: "OPTIONS",
    headers: { origin: "http://a.test", "access-control-request-headers": "content-type,x-mine" },
  });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers.get("access-control-allow-origin"), "http://a.test");
  assert.equal(preflight.headers.get("access-control-allow-headers"), "content-type,x-mine");
  assert.equal(preflight.headers.get("access-control-allow-methods"), "POST, OPTIONS");
  for (const body of [completion, { ...completion, stream: true }, {}]) {
    const answer = await post(`${open.url}/v1/completions`, body);
    assert.equal(answer.headers.get("access-control-allow-origin"), "http://a.test");
    assert.equal(answer.headers.get("vary"), "Origin");
    await answer.text();
  }
});

test("draining lets running answers end and takes no new ones", async (t) => {
  const { server, port, url } = await serve(t, { reply: () => "x".repeat(60), tokenDelayMs: 3 });
  const raw = new RawClient(port);
  raw.post("/v1/completions", JSON.stringify({ ...completion, max_tokens: 40, stream: true }));
  const idle = new RawClient(port).send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
  await until(() => raw.received.includes("data: ") && idle.received !== "", "it streams");
  let drained = false;
  const draining = server.drain().then(() => {
    drained = true;
  });
  await assert.rejects(fetch(`${url}/livez`), "no new connection");
  for (const path of ["/livez", "/readyz", "/metrics"]) {
    idle.received = "";
    idle.send(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await until(() => idle.received !== "", `an answer of ${path}`);
    assert.match(idle.received, /^HTTP\/1\.1 200/, "who watches the server is answered");
  }
  idle.received = "";
  idle.post("/v1/completions", JSON.stringify(completion));
  await until(() => idle.received.includes('"code":"draining"'), "a kept connection is refused");
  await until(() => idle.closed, "and closed");
  assert.equal(drained, false);
  await draining;
  await until(() => raw.received.includes("[DONE]"), "the stream ended whole");
});

test("a port that is in use is an error that names it", async (t) => {
  const first = await serve(t);
  await assert.rejects(
    serve(t, { options: { port: first.port } }),
    new RegExp(`cannot listen on 127.0.0.1:${first.port}: the port is in use`),
  );
});

test("what docs/operations.md says of connections: requests in a row, and half-closed ones", async (t) => {
  const { port, generator } = await serve(t, { tokenDelayMs: 5 });
  const get = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
  const short = new RawClient(port).send(get + get);
  await until(() => short.received.split("HTTP/1.1 200").length === 3, "both are answered");
  short.socket.destroy();
  const body = JSON.stringify({ model: "fake", prompt: "x", max_tokens: 100 });
  const early = new RawClient(port).post("/v1/completions", body).send(get);
  await until(() => early.closed, "the connection is closed");
  const half = new RawClient(port).post("/v1/completions", body);
  await until(() => generator.running > 0, "it runs");
  half.socket.end();
  await until(() => generator.running === 0, "its generation is cancelled");
  const old = new RawClient(port).send(get.replace("1.1", "1.0"));
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.doesNotMatch(old.received, / 200 /);
  old.socket.destroy();
});
