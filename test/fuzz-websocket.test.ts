import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { test } from "node:test";
import fc from "fast-check";
import { WebSocket } from "ws";
import { RawClient, serve, until } from "./harness.js";
import { serveWithGrammars } from "./support/grammars.js";
import { mutated } from "./support/mutations.js";

const completion = { type: "completion", model: "fake", max_tokens: 4 };
const chat = { type: "chat.completion", model: "fake", max_tokens: 4 };
const messages = [{ role: "user", content: "hi" }];
const tools = [{ type: "function", function: { name: "f", parameters: { type: "object" } } }];

const FRAMES: readonly (readonly [null, object])[] = [
  [null, { ...completion, id: "a", prompt: "hi", n: 2, logprobs: 1, stop: ["x"] }],
  [null, { ...completion, id: 7, prompt: [1, 2], stream_options: { include_usage: true } }],
  [null, { ...completion, id: "c", prompt: "x", guided_choice: ["yes", "no"] }],
  [null, { ...chat, id: "d", messages, logprobs: true, top_logprobs: 1 }],
  [null, { ...chat, id: "e", messages, tools, tool_choice: "required" }],
  [null, { id: "f", type: "cancel" }],
];

type Frame = Readonly<Record<string, unknown>>;

function checkFrame(frame: Frame): void {
  if (frame.error === undefined) {
    assert.ok(frame.type === "done" || Array.isArray(frame.choices), JSON.stringify(frame));
    return;
  }
  assert.deepEqual(Object.keys(frame), ["id", "error"]);
  assert.deepEqual(Object.keys(frame.error as object), ["message", "type", "param", "code"]);
}

test("every frame that was right until it changed is answered under its id, and the socket stays open", async (t) => {
  const { port, generator, logged } = await serveWithGrammars(t, { reply: () => "Hé" });
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`);
  t.after(() => socket.terminate());
  await once(socket, "open");
  const frames: Frame[] = [];
  socket.on("message", (data) => frames.push(JSON.parse(String(data))));
  const ended = ({ type, error }: Frame) => type === "done" || error !== undefined;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(mutated(FRAMES), async ([, sent]) => {
      frames.length = 0;
      const text = JSON.stringify(sent);
      socket.send(text);
      // What JSON makes of it is what the server reads. With nothing running, a cancel has no answer.
      const { id, type } = (JSON.parse(text) ?? {}) as Frame;
      const named = typeof id === "string" || (Number.isSafeInteger(id) && !Object.is(id, -0));
      if (named && type === "cancel") return;
      await until(() => frames.some(ended), `an answer to ${text}`);
      for (const frame of frames) {
        checkFrame(frame);
        assert.deepEqual(frame.id, named ? id : null, text);
      }
      if (frames.at(-1)?.error !== undefined) refused++;
      assert.equal(frames.filter(ended).length, 1, text);
    }),
    { numRuns: 600 },
  );
  assert.ok(refused > 60 && refused < 540, `${refused} of 600 were refused`);
  assert.equal(socket.readyState, WebSocket.OPEN);
  await until(() => generator.running === 0, "nothing runs on");
  const faults = logged.filter(({ message }) => !message.includes("field that is unknown"));
  assert.deepEqual(faults, []);
});

const HANDSHAKE =
  "GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/** A frame's head as it may come, right or wrong in every field, and a payload of any length. */
const rawFrame = fc
  .record({
    first: fc.nat(255), // FIN, three reserved bits, opcode
    masked: fc.boolean(),
    announced: fc.oneof(fc.nat(125), fc.constantFrom(126, 127, 2 ** 20, 2 ** 40)),
    payload: fc.uint8Array({ maxLength: 200 }),
  })
  .map(({ first, masked, announced, payload }) => {
    const mask = masked ? 0x80 : 0;
    const length = Buffer.alloc(announced < 126 ? 0 : announced === 126 ? 2 : 8);
    if (length.length === 2) length.writeUInt16BE(payload.length);
    if (length.length === 8) length.writeBigUInt64BE(BigInt(announced));
    const short = announced < 126 ? announced : length.length === 2 ? 126 : 127;
    const key = masked ? randomBytes(4) : Buffer.alloc(0);
    return Buffer.concat([Buffer.from([first, mask | short]), length, key, payload]);
  });

test("no bytes after the upgrade hurt the server or the sockets of others", async (t) => {
  const { port, generator } = await serve(t, { reply: () => "ok" });
  const other = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`);
  t.after(() => other.terminate());
  await once(other, "open");
  const frames: Frame[] = [];
  other.on("message", (data) => frames.push(JSON.parse(String(data))));
  const ask = async (id: number) => {
    frames.length = 0;
    other.send(JSON.stringify({ ...completion, id, prompt: "x" }));
    await until(() => frames.at(-1)?.type === "done", "the other's answer");
    assert.ok(frames.every((frame) => frame.id === id));
  };
  const anything = fc.oneof(rawFrame, fc.uint8Array({ maxLength: 100 }));
  let asked = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(anything, { minLength: 1, maxLength: 5 }), async (chunks) => {
      const raw = new RawClient(port).send(HANDSHAKE);
      await until(() => raw.received.includes("\r\n\r\n"), "the upgrade");
      assert.match(raw.received, /^HTTP\/1\.1 101 /);
      for (const chunk of chunks) raw.socket.write(chunk);
      await ask(asked++);
      raw.socket.destroy();
    }),
    { numRuns: 200 },
  );
  await until(() => generator.running === 0, "nothing runs on");
});
