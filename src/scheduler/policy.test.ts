import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { allocateStepArrays } from "../engine/step-batch.js";
import { mixOf } from "./mix.js";
import { StepPace } from "./pace.js";
import { prefillBudget, sharePrefill, timeToPlan } from "./policy.js";
import { Scheduler } from "./scheduler.js";
import type { Sequence } from "./sequence.js";
import { requestOf } from "./simulation.js";

const needs = fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 20 });

test("shares of the prompts are about the budget, fit the step and give nobody more than needed", () => {
  const sizes = fc.tuple(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 0, max: 600 }));
  fc.assert(
    fc.property(needs, sizes, (remaining, [budget, spare]) => {
      const rows = sharePrefill(remaining, budget, budget + spare);
      const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
      assert.ok(sum(rows) <= Math.min(1.5 * budget, budget + spare));
      rows.forEach((share, index) => {
        assert.ok(share >= 0 && share <= remaining[index]!);
      });
      assert.ok(rows[0]! >= Math.min(remaining[0]!, Math.ceil(budget / 4)), "the oldest gets on");
      const ends = rows.some((share, index) => share === remaining[index]);
      if (!ends) assert.equal(sum(rows), Math.min(budget, sum(remaining)));
    }),
  );
});

test("a short prompt passes a long one that came before it, and what it leaves makes its step shorter", () => {
  assert.deepEqual(sharePrefill([2000, 10], 32, 500), [8, 10]);
  assert.deepEqual(sharePrefill([2000, 1900], 32, 500), [8, 24]);
});

test("short prompts that come together end with one step where few rows more are enough", () => {
  assert.deepEqual(sharePrefill([2000, 16, 16], 32, 500), [8, 16, 16]);
  assert.deepEqual(sharePrefill([2000, 16, 16], 32, 36), [8, 16, 0], "the step has no room");
  assert.deepEqual(sharePrefill([2000, 16, 40], 32, 500), [8, 16, 0]);
});

test("prompts take a small part of a step beside running streams", () => {
  const rows = (room: number, streams: number, fixed: number, promptRow: number) =>
    prefillBudget(room, { streams, fixed, promptRow, seconds: 0.001 });
  assert.equal(rows(504, 8, 0, 1), 12);
  assert.equal(rows(504, 8, 20, 1), 42);
  assert.equal(rows(504, 8, 0, 3), 4);
  assert.equal(rows(4, 60, 0, 1), 4);
});

test("a step that is short all the same takes more of the prompts", () => {
  const rows = (streams: number) =>
    prefillBudget(504, { streams, fixed: 4, promptRow: 1, seconds: 0.0002 });
  assert.equal(rows(1), 35, "8 ms");
  assert.equal(rows(12), 24, "still 8 ms");
  assert.equal(rows(16), 30, "2.5 times its time without");
});

test("prompts alone fill a step that is short, or costs little beside its fixed part", () => {
  const rows = (seconds: number, fixed: number, promptRow = 1) =>
    prefillBudget(512, { streams: 0, fixed, promptRow, seconds });
  assert.equal(rows(0, 4), 128, "as long as nothing is known");
  assert.equal(rows(0.00001, 4), 512);
  assert.equal(rows(0.0002, 4), 192, "40 ms");
  assert.equal(rows(0.0002, 4, 2), 96);
  assert.equal(rows(0.02, 20), 176, "nine times the fixed part");
  assert.equal(rows(0.02, 0), 16, "a tile of the kernels");
});

test("the step behind a long one is planned late, behind a short one at once", () => {
  assert.equal(timeToPlan(0), 0, "as long as nothing is known");
  assert.equal(timeToPlan(0.003), 0);
  assert.equal(timeToPlan(0.008), 0.005);
  assert.equal(timeToPlan(0.04), 0.03);
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
  assert.ok(Math.abs(pace.secondsPerRow - 0.0005) < 0.00003, `${pace.secondsPerRow}`);
  const perPosition = pace.costOf({ rows: 0, positions: 1000 });
  assert.ok(Math.abs(perPosition - 2) < 0.2, `${perPosition}`);
  const expected = pace.secondsOf({ rows: 50, positions: 10_000 });
  assert.ok(Math.abs(expected - 0.045) < 0.002, `${expected}`);
});

test("steps of one size teach nothing", () => {
  const pace = new StepPace();
  for (let step = 0; step < 100; step++) pace.observe({ rows: 8, positions: 800 }, 0.01);
  assert.equal(pace.fixedRows, new StepPace().fixedRows);
});

test("prompts whose log-probabilities are asked for come in small parts", () => {
  const limits = {
    rows: 512,
    sequences: 4,
    blocks: 256,
    history: 64,
    biases: 4,
    bans: 4,
    routes: 4,
    width: 1,
    maskWords: 1,
    layerWords: 1,
  };
  const scheduler = new Scheduler({ limits, slots: 8, pages: 256 });
  const job = { mix: mixOf(0), maxTokens: 1, seed: 0, penalties: false, ignoreEos: true };
  const prompt = (length: number, first: number) =>
    Array.from({ length }, (_, index) => (index === 0 ? first : 1));
  const asking = [1, 2].map((first) =>
    scheduler.submit(requestOf({ ...job, prompt: prompt(300, first), promptLogprobs: true })),
  );
  const other = scheduler.submit(
    requestOf({ ...job, prompt: prompt(100, 3), promptLogprobs: false }),
  );
  const step = scheduler.plan(allocateStepArrays(limits))!;
  const rowsOf = (sequence: Sequence) =>
    step.parts.find((part) => part.sequence === sequence)?.rows ?? 0;
  assert.ok(asking.every((sequence) => rowsOf(sequence) > 0 && rowsOf(sequence) <= 32));
  assert.ok(rowsOf(other) > 32, `${rowsOf(other)} rows`);
});
