import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { WebSocket } from "ws";
import { post, RawClient, serve, until } from "./harness.js";

const LONG = { reply: () => "x".repeat(10_000), tokenDelayMs: 2 };
const body = JSON.stringify({ model: "fake", prompt: "x", max_tokens: 400, stream: true });

/** What clients do to a server, none of it polite. */
const manners: ((raw: RawClient) => void)[] = [
  (raw) => raw.post("/v1/completions", body),
  (raw) => raw.post("/v1/completions", body.replace("true", "false")),
  (raw) => raw.post("/v1/completions", body.slice(0, 30), body.length),
  (raw) => raw.post("/v1/completions", body).post("/v1/completions", body),
  (raw) => raw.post("/v1/completions", body).send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
  (raw) => raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20)),
  (raw) => raw.send("GET /v1/models HTTP/1.1\r\nHo"),
  (raw) => raw.send("\r\n\r\n\0garbage\r\n\r\n"),
  (raw) => raw.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nabc"),
  (raw) =>
    raw.send(
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ),
  (raw) => raw.send("GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"),
];

test("after clients of every kind have vanished at random, nothing is left running", async (t) => {
  const { server, port, url, generator } = await serve(t, LONG);
  const clients = Array.from({ length: 220 }, async (_, i) => {
    const raw = new RawClient(port);
    await once(raw.socket, "connect");
    manners[i % manners.length]!(raw);
    await new Promise((resolve) => setTimeout(resolve, 10 + ((i * 37) % 150)));
    if (i % 2 === 0) raw.socket.destroy();
    else raw.socket.resetAndDestroy();
  });
  const sockets = Array.from({ length: 20 }, async (_, i) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`);
    socket.on("error", () => {});
    socket.on("open", () => {
      for (const id of [1, 2, 3]) {
        socket.send(JSON.stringify({ id, type: "completion", model: "fake", prompt: "x" }));
      }
      if (i % 3 === 0) socket.send(JSON.stringify({ id: 2, type: "cancel" }));
    });
    await new Promise((resolve) => setTimeout(resolve, 20 + i * 5));
    socket.terminate();
  });
  await Promise.all([...clients, ...sockets]);
  await until(() => generator.running === 0, "every generation has ended");
  assert.ok(generator.cancelled > 20);
  assert.equal((await post(`${url}/v1/completions`, body)).status, 200);
  let drained = false;
  server.drain().then(() => {
    drained = true;
  });
  await until(() => drained, "nothing holds up the drain");
});

test("a silence longer than the idle limit of a connection ends no answer", async (t) => {
  const { url } = await serve(t, { startDelayMs: 13_000, reply: () => "patience" });
  const answers = [body, body.replace("true", "false")].map(async (asked) => {
    const response = await post(`${url}/v1/completions`, asked);
    return [response.status, (await response.text()).includes(`"finish_reason":"stop"`)];
  });
  assert.deepEqual(await Promise.all(answers), [
    [200, true],
    [200, true],
  ]);
});

test("connections that are silent, half-said or kept alive for nothing are closed", async (t) => {
  const { port } = await serve(t);
  const clients = [
    new RawClient(port),
    new RawClient(port).send("GET /v1/mod"),
    new RawClient(port).send("GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Half: "),
    new RawClient(port).send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
  ];
  await until(() => clients.every(({ closed }) => closed), "all are closed", 30_000);
});
