import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EventReader } from "./event-reader.js";

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
