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
  assert.equal(prefillBudget(0, 512, 4), 512);
  assert.equal(prefillBudget(8, 504, 0), 12);
  assert.equal(prefillBudget(8, 504, 20), 42, "more where reading the weights is the cost");
  assert.equal(prefillBudget(60, 4, 0), 4);
});

test("the cost of a step is learnt from steps of different sizes", () => {
  const pace = new StepPace();
  const cost = (rows: number) => 0.01 + 0.0005 * rows;
  for (const rows of [1, 1, 64, 8, 512, 8, 8]) pace.observe(rows, cost(rows));
  assert.ok(Math.abs(pace.fixedRows - 20) < 1e-6);
  for (let step = 0; step < 1000; step++) pace.observe(8, cost(8));
  assert.ok(Math.abs(pace.fixedRows - 20) < 0.1, "steps of one size teach nothing new");
});
