import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EventReader, LONGEST_EVENT } from "./event-reader.js";

test("events come out as they went in, however the text was cut", () => {
  const data = fc.string({ minLength: 1 }).filter((text) => !/[\r\n]/.test(text));
  fc.assert(
    fc.property(fc.array(data), fc.array(fc.nat(200)), (events, cuts) => {
      const stream = events.map((text) => `data: ${text}\n\n`).join("");
      const places = [...cuts, stream.length].sort((a, b) => a - b);
      const reader = new EventReader();
      let from = 0;
      const read = places.flatMap((to) => {
        const piece = stream.slice(from, to);
        from = Math.max(from, to);
        return reader.push(piece);
      });
      assert.deepEqual(read, events);
    }),
  );
});

test("comments and fields that are no data are passed over; lines of data belong together", () => {
  const reader = new EventReader();
  const stream = ": ping\n\nevent: x\r\ndata:1\r\n\r\ndata: a\ndata: b\n\ndata: not yet";
  assert.deepEqual(reader.push(stream), ["1", "a\nb"]);
  assert.deepEqual(reader.push("\n\n"), ["not yet"]);
});

test("ends of events are found wherever they are cut", () => {
  for (const end of ["\n\n", "\r\n\r\n", "\n\r\n", "\r\n\n"]) {
    const stream = `data: a${end}${end}data: b${end}`;
    const reader = new EventReader();
    assert.deepEqual(
      [...stream].flatMap((character) => reader.push(character)),
      ["a", "b"],
    );
  }
});

test("an event that does not end is refused once it is too long, events that end never are", () => {
  const piece = "x".repeat(LONGEST_EVENT / 16);
  const reader = new EventReader();
  for (let i = 0; i < 32; i++) assert.deepEqual(reader.push(`data: ${piece}\n\n`), [piece]);
  for (let i = 0; i < 16; i++) assert.deepEqual(reader.push(piece), []);
  assert.throws(() => reader.push("x"), {
    name: "ServerError",
    message: "an event of the answer is longer than 16777216 characters",
  });
});

test("what came before is not looked at again with each piece", (context) => {
  const looked = context.mock.method(String.prototype, "matchAll");
  const reader = new EventReader();
  const piece = "x".repeat(1000);
  for (let i = 0; i < 1000; i++) reader.push(piece);
  const lengths = looked.mock.calls.map((call) => String(call.this).length);
  assert.equal(lengths.length, 1000);
  assert.ok(Math.max(...lengths) < 1010, `${Math.max(...lengths)} characters`);
});
