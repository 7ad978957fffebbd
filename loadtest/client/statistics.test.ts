import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { percentile, summarize } from "./statistics.js";

// Adding 0 makes -0 a 0: assert tells them apart, no measurement does.
const figure = fc.double({ min: -1e6, max: 1e6, noNaN: true }).map((value) => value + 0);
const values = fc.array(figure, { minLength: 1, maxLength: 60 });
const ranks = fc.double({ min: 0, max: 100, noNaN: true });

test("percentiles lie between the extremes and rise with their rank", () => {
  fc.assert(
    fc.property(values, ranks, ranks, (each, a, b) => {
      const sorted = Float64Array.from(each).sort();
      const [low, high] = [percentile(sorted, Math.min(a, b)), percentile(sorted, Math.max(a, b))];
      assert.ok(sorted[0]! <= low && low <= high + 1e-9 && high <= sorted.at(-1)! + 1e-9);
      assert.equal(percentile(sorted, 0), sorted[0]);
      assert.equal(percentile(sorted, 100), sorted.at(-1));
    }),
  );
});

test("a rank that falls on a value gives it, whatever the order of the values", () => {
  fc.assert(
    fc.property(values, fc.nat(), (each, pick) => {
      const sorted = Float64Array.from(each).sort();
      const index = pick % sorted.length;
      const rank = sorted.length === 1 ? 0 : (100 * index) / (sorted.length - 1);
      const found = summarize(each.toReversed(), [rank]).percentiles[0]!;
      assert.ok(Math.abs(found - sorted[index]!) < 1e-3);
    }),
  );
});

test("summaries agree with numpy", () => {
  const { mean, median, std, percentiles } = summarize([4, 1, 3, 10], [25, 99]);
  assert.deepEqual([mean, median, percentiles[0]], [4.5, 3.5, 2.5]);
  assert.ok(Math.abs(std - 3.3541019662496847) < 1e-12);
  assert.ok(Math.abs(percentiles[1]! - 9.82) < 1e-9);
  assert.deepEqual(summarize([], [99]), { mean: 0, median: 0, std: 0, percentiles: [0] });
});
