import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { jsonPieces, lazyList } from "./write.js";

const written = (value: unknown) => [...jsonPieces(value)].join("");

test("it writes what JSON.stringify writes", () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      assert.equal(written(value), JSON.stringify(value));
    }),
  );
  assert.equal(written({ a: undefined, b: null }), '{"b":null}');
  assert.equal(written([undefined, Number.NaN, 1]), "[null,null,1]");
});

test("lazy lists look like lists wherever they are", () => {
  for (const items of [[], [1], [1, 2, 3]]) {
    const shown = (item: number) => ({ item });
    const lazy = { a: [lazyList(items, shown)], b: 1 };
    assert.equal(written(lazy), JSON.stringify({ a: [items.map(shown)], b: 1 }));
    assert.equal(JSON.stringify(lazy), written(lazy));
  }
});

test("long texts and lists of numbers come in small pieces that keep characters whole", () => {
  for (let shift = 0; shift < 3; shift++) {
    const text = `${"x".repeat(shift)}${"a\n😀".repeat(20_000)}`;
    const pieces = [...jsonPieces(text)];
    assert.equal(pieces.join(""), JSON.stringify(text));
    assert.ok(Math.max(...pieces.map(({ length }) => length)) < 40_000);
  }
  const numbers = Array.from({ length: 100_000 }, (_, i) => i / 3);
  const pieces = [...jsonPieces(numbers)];
  assert.equal(pieces.join(""), JSON.stringify(numbers));
  assert.ok(Math.max(...pieces.map(({ length }) => length)) < 40_000);
});
