import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { assigner, cumulativeShares } from "./assignment.js";
import { seededRandom } from "./random.js";

const names = (count: number) => Array.from({ length: count }, (_, index) => `a${index}`);

function drawn(count: number, next: () => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (let index = 0; index < count; index++) {
    const name = next();
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

test("shares rise to 1, each item weighing at most what the one before it does", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.double({ min: 0, max: 4, noNaN: true }),
      (count, exponent) => {
        const shares = cumulativeShares(count, exponent);
        const weights = shares.map((share, index) => share - (shares[index - 1] ?? 0));
        assert.ok(Math.abs(shares.at(-1)! - 1) < 1e-9);
        assert.ok(
          weights.every((weight, i) => weight > 0 && weight <= (weights[i - 1] ?? 1) + 1e-9),
        );
      },
    ),
  );
});

test("Zipf draws the k-th model in proportion to 1 / k", () => {
  const counts = drawn(200_000, assigner(names(8), "zipf", 1, seededRandom(11)));
  const first = counts.get("a0")!;
  for (const [index, name] of names(8).entries()) {
    assert.ok(Math.abs((counts.get(name)! / first) * (index + 1) - 1) < 0.05, name);
  }
});

test("random draws all models alike, round-robin exactly so", () => {
  const random = drawn(80_000, assigner(names(8), "random", 1, seededRandom(2)));
  for (const count of random.values()) assert.ok(Math.abs(count / 10_000 - 1) < 0.05);
  const next = assigner(names(3), "round-robin", 1, seededRandom(2));
  assert.deepEqual([next(), next(), next(), next()], ["a0", "a1", "a2", "a0"]);
});

test("the same seed draws the same models", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e9 }), (seed) => {
      const list = () => {
        const next = assigner(names(20), "zipf", 1, seededRandom(seed));
        return Array.from({ length: 30 }, next);
      };
      assert.deepEqual(list(), list());
    }),
  );
});
