import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EventReader } from "./event-reader.js";

function read(stream: string, cuts: readonly number[] = []): EventReader {
  const bytes = Buffer.from(stream, "utf8");
  const reader = new EventReader({ keepText: true });
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  for (const [index, place] of [...places, bytes.length].entries()) {
    reader.push(bytes.subarray(places[index - 1] ?? 0, place), index);
  }
  reader.finish();
  return reader;
}

const event = (payload: object) => `data: ${JSON.stringify(payload)}\n\n`;
const token = (text: string) => event({ choices: [{ index: 0, text }], usage: null });
const usage = { prompt_tokens: 3, completion_tokens: 2 };
const whole = `: ping\n\n${token('a"choices":[]')}${token("é\n")}${event({ choices: [], usage })}data: [DONE]\n\n`;

test("however the bytes are cut, tokens, text and usage are the same", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(), { maxLength: 12 }), (cuts) => {
      const reader = read(whole, cuts);
      assert.equal(reader.times.length, 2);
      assert.equal(reader.text, 'a"choices":[]é\n');
      assert.deepEqual(reader.usage, { promptTokens: 3, outputTokens: 2 });
      assert.equal(reader.done, true);
    }),
  );
});

test("lines may end with a carriage return, and JSON may hold blanks", () => {
  const spaced =
    'data:{"choices": [ {"delta": {"content": "x"}} ]}\r\n\r\ndata: {"choices": [ ]}\r\n\r\n';
  const reader = read(spaced);
  assert.equal(reader.text, "x");
  assert.equal(reader.times.length, 1);
});

test("usage on the last event with choices counts", () => {
  const reader = read(token("a") + event({ choices: [{ text: "b" }], usage }));
  assert.deepEqual(reader.usage, { promptTokens: 3, outputTokens: 2 });
});

test("an error inside the stream is kept", () => {
  assert.equal(
    read(token("a") + event({ error: { message: "out of pages" } })).error,
    "out of pages",
  );
  assert.match(read("data: {oops\n\n").error!, /not JSON/);
});
