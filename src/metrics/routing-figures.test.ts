import assert from "node:assert/strict";
import { test } from "node:test";
import { evenness, sumOf } from "./routing-figures.js";

test("evenness is 1 where experts are equal, and 0 where one takes everything", () => {
  assert.ok(Math.abs(evenness([3, 3, 3, 3]) - 1) < 1e-12);
  assert.equal(evenness([0, 7, 0]), 0);
  assert.equal(evenness([5]), 1);
});

test("counts are summed expert by expert", () => {
  assert.deepEqual(
    sumOf([
      [1, 2],
      [3, 4],
      [0, 1],
    ]),
    [4, 7],
  );
  assert.deepEqual(sumOf([]), []);
});
