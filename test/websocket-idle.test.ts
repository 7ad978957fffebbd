import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { WebSocket } from "ws";
import { DEFAULT_LIMITS } from "../src/http/options.js";
import { RawClient, serve, until } from "./harness.js";

test("a ping is answered by a pong with the same payload", async (t) => {
  const { port } = await serve(t);
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`);
  t.after(() => socket.terminate());
  await once(socket, "open");
  socket.ping("are you there");
  const [payload] = await once(socket, "pong");
  assert.equal(String(payload), "are you there");
});

test("an idle socket is pinged: who answers stays, who does not is dropped and its generations with it", async (t) => {
  const limits = { ...DEFAULT_LIMITS, socketIdleSeconds: 8 };
  const { port, generator } = await serve(t, { startDelayMs: 600_000, options: { limits } });
  const alive = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`);
  t.after(() => alive.terminate());
  await once(alive, "open");
  // Half-open: its connection stands and nobody answers pings on it.
  const dead = new RawClient(port).send(
    "GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
  );
  await until(() => dead.received.includes("101 Switching"), "the upgrade");
  const text = JSON.stringify({ id: 1, type: "completion", model: "fake", prompt: "x" });
  const noMask = Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]);
  dead.socket.write(Buffer.concat([noMask, Buffer.from(text)]));
  await until(() => generator.running === 1, "it runs");
  const pinged = once(alive, "ping");
  await until(() => dead.closed, "the silent one is dropped", 30_000);
  await until(() => generator.cancelled === 1, "its generation is cancelled");
  await pinged;
  assert.equal(alive.readyState, WebSocket.OPEN);
});
