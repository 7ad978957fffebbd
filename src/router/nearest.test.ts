import assert from "node:assert/strict";
import { test } from "node:test";
import { type Near, NearestIndex } from "./nearest.js";

function find(index: NearestIndex, queries: readonly Float32Array[]): [Near | null, number] {
  const search = index.nearest(queries);
  for (let steps = 0; ; steps++) {
    const step = search.next();
    if (step.done === true) return [step.value, steps];
  }
}

test("the entry with the vector nearest to any of the queries is found", () => {
  const index = new NearestIndex();
  assert.deepEqual(find(index, [Float32Array.of(1, 0)]), [null, 0]);
  index.set(1, "left", [Float32Array.of(-1, 0), Float32Array.of(0, 1)]);
  index.set(2, "right", [Float32Array.of(1, 0)]);
  assert.deepEqual(find(index, [Float32Array.of(0.8, 0.6)])[0]?.name, "right");
  assert.deepEqual(find(index, [Float32Array.of(0.6, 0.8)])[0]?.name, "left");
  assert.deepEqual(find(index, [Float32Array.of(0.6, 0.8), Float32Array.of(1, 0)])[0], {
    name: "right",
    score: 1,
  });
});

test("what is removed or replaced is found no more", () => {
  const index = new NearestIndex();
  index.set(1, "left", [Float32Array.of(-1, 0)]);
  index.set(2, "right", [Float32Array.of(1, 0)]);
  index.delete(2);
  assert.deepEqual(find(index, [Float32Array.of(1, 0)])[0], { name: "left", score: -1 });
  index.set(1, "up", [Float32Array.of(0, 1)]);
  assert.equal(find(index, [Float32Array.of(0, 1)])[0]?.name, "up");
  index.delete(1);
  assert.equal(find(index, [Float32Array.of(0, 1)])[0], null);
});

test("a search among many pauses", () => {
  const index = new NearestIndex();
  const vector = new Float32Array(64).fill(1 / 8);
  for (let handle = 1; handle <= 1000; handle++) {
    index.set(
      handle,
      `adapter ${handle}`,
      Array.from({ length: 30 }, () => vector),
    );
  }
  const [near, pauses] = find(index, [vector]);
  assert.equal(near?.name, "adapter 1");
  assert.ok(pauses >= 30, `${pauses}`);
});
