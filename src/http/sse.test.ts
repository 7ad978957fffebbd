import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { event } from "./sse.js";

/** A reader as the HTML standard describes it: any line ending, comments, several data lines. */
function read(stream: string): string[] {
  const events: string[] = [];
  let data: string[] = [];
  for (const line of stream.split(/\r\n|\r|\n/)) {
    if (line === "") {
      if (data.length > 0) events.push(data.join("\n"));
      data = [];
    } else if (line.startsWith("data:")) {
      data.push(line.slice("data:".length).replace(/^ /, ""));
    }
  }
  return events;
}

test("any JSON text is exactly one event", () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), (values) => {
      const texts = values.map((value) => JSON.stringify(value));
      assert.deepEqual(read(texts.map(event).join("")), texts);
    }),
  );
  const hard = { text: "\r\n\u2028\u2029\u0085\0data: x\n\n[DONE]\ud800" };
  assert.deepEqual(JSON.parse(read(event(JSON.stringify(hard)))[0]!), hard);
});
