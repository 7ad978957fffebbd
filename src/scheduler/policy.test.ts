import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { StepPace } from "./pace.js";
import { prefillBudget, sharePrefill } from "./policy.js";

const needs = fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 20 });

test("shares of the prompts use the whole budget and give nobody more than needed", () => {
  fc.assert(
    fc.property(needs, fc.integer({ min: 1, max: 600 }), (remaining, budget) => {
      const rows = sharePrefill(remaining, budget);
      const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
      assert.equal(sum(rows), Math.min(budget, sum(remaining)));
      rows.forEach((share, index) => {
        assert.ok(share >= 0 && share <= remaining[index]!);
      });
      assert.ok(rows[0]! >= Math.min(remaining[0]!, Math.ceil(budget / 2)), "the oldest gets on");
    }),
  );
});

test("a short prompt passes a long one that came before it", () => {
  assert.deepEqual(sharePrefill([2000, 10], 32), [22, 10]);
});

test("prompts fill a step alone and take a small part beside running streams", () => {
  assert.equal(prefillBudget(512, { streams: 0, fixed: 4, promptRow: 1 }), 512);
  assert.equal(prefillBudget(504, { streams: 8, fixed: 0, promptRow: 1 }), 12);
  assert.equal(prefillBudget(504, { streams: 8, fixed: 20, promptRow: 1 }), 42);
  assert.equal(prefillBudget(504, { streams: 8, fixed: 0, promptRow: 3 }), 4);
  assert.equal(prefillBudget(4, { streams: 60, fixed: 0, promptRow: 1 }), 4);
});

test("the cost of a step is learnt from steps of different sizes, whatever slows some down", () => {
  const pace = new StepPace();
  const random = fc.sample(fc.integer({ min: 0, max: 1000 }), { numRuns: 600, seed: 1 });
  for (let step = 0; step < 200; step++) {
    const rows = 1 + (random[3 * step]! % 100);
    const positions = rows * random[3 * step + 1]!;
    const seconds = 0.01 + 0.0005 * rows + 1e-6 * positions;
    pace.observe({ rows, positions }, random[3 * step + 2]! < 50 ? 20 * seconds : seconds);
  }
  assert.ok(Math.abs(pace.fixedRows - 20) < 1, `${pace.fixedRows}`);
  const perPosition = pace.costOf({ rows: 0, positions: 1000 });
  assert.ok(Math.abs(perPosition - 2) < 0.2, `${perPosition}`);
});

test("steps of one size teach nothing", () => {
  const pace = new StepPace();
  for (let step = 0; step < 100; step++) pace.observe({ rows: 8, positions: 800 }, 0.01);
  assert.equal(pace.fixedRows, new StepPace().fixedRows);
});
