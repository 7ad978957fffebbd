import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { arrivalTimes, type Pace } from "./arrivals.js";
import { seededRandom } from "./random.js";

const seeds = fc.integer({ min: 0, max: 0xffff_ffff });
const counts = fc.integer({ min: 1, max: 500 });
const rates = fc.double({ min: 0.01, max: 1000, noNaN: true });
const burstiness = fc.double({ min: 0.05, max: 50, noNaN: true });

function gapsOf(times: Float64Array): number[] {
  return Array.from(times, (time, index) => time - (times[index - 1] ?? 0));
}

test("arrivals rise, and the last is due when the rate says", () => {
  fc.assert(
    fc.property(seeds, counts, rates, burstiness, (seed, count, rate, shape) => {
      const pace: Pace = { rate, burstiness: shape, rampUp: null };
      const times = arrivalTimes(count, pace, seededRandom(seed));
      assert.ok(gapsOf(times).every((gap) => gap >= 0));
      assert.ok(Math.abs(times.at(-1)! / (count / rate) - 1) < 1e-9);
    }),
  );
});

test("an infinite rate sends everything at once", () => {
  const times = arrivalTimes(5, { rate: Infinity, burstiness: 1, rampUp: null }, seededRandom(1));
  assert.deepEqual([...times], [0, 0, 0, 0, 0]);
});

test("gaps have the variation of their gamma distribution: 1 / burstiness of the squared mean", () => {
  for (const shape of [0.25, 1, 4]) {
    const pace: Pace = { rate: 10, burstiness: shape, rampUp: null };
    const gaps = gapsOf(arrivalTimes(100_000, pace, seededRandom(7)));
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
    assert.ok(Math.abs((variance / mean ** 2) * shape - 1) < 0.05, `burstiness ${shape}`);
  }
});

test("burstiness 1 is a Poisson process: a share of e^-1 of the gaps is longer than the mean", () => {
  const gaps = gapsOf(
    arrivalTimes(100_000, { rate: 1, burstiness: 1, rampUp: null }, seededRandom(3)),
  );
  const longer = gaps.filter((gap) => gap > 1).length / gaps.length;
  assert.ok(Math.abs(longer - Math.exp(-1)) < 0.01);
});

test("a ramp begins at its first rate and ends at its last", () => {
  for (const strategy of ["linear", "exponential"] as const) {
    const rampUp = { strategy, start: 2, end: 50 };
    const pace: Pace = { rate: Infinity, burstiness: 1e6, rampUp }; // even gaps
    const gaps = gapsOf(arrivalTimes(1000, pace, seededRandom(5)));
    assert.ok(Math.abs(gaps[0]! * 2 - 1) < 0.02, strategy);
    assert.ok(Math.abs(gaps.at(-1)! * 50 - 1) < 0.02, strategy);
  }
});
