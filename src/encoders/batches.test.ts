import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { batchesOf } from "./batches.js";

test("every input is in one batch, and no batch of several is over the limits", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 50 })),
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 1, max: 100 }),
      (lengths, inputs, tokens) => {
        const batches = batchesOf(lengths, { inputs, tokens });
        const all = batches.flat().sort((a, b) => a - b);
        assert.deepEqual(all, [...lengths.keys()]);
        for (const batch of batches) {
          const longest = Math.max(...batch.map((index) => lengths[index]!));
          assert.ok(batch.length <= inputs);
          assert.ok(batch.length === 1 || batch.length * longest <= tokens);
        }
      },
    ),
  );
});
