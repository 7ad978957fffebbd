import assert from "node:assert/strict";
import { test } from "node:test";
import { adapterCosts, costTable } from "./bench-adapters.js";
import type { BenchResult } from "./bench-run.js";

const result = (changes: Partial<BenchResult>): BenchResult => ({
  name: "",
  streams: 16,
  distinctAdapters: 0,
  tokensPerSecond: 1000,
  stepMilliseconds: 10,
  betweenSteps: 0,
  weightGigabytesPerSecond: 0,
  steps: 1,
  rowsPerStep: 16,
  basePassesPerStep: 1,
  adapterBytesPerStep: 0,
  stages: [],
  ...changes,
});

test("the cost of adapters is told beside the base's step plus their bytes at the memory's speed", () => {
  const results = [
    result({ name: "prompt", rowsPerStep: 512, streams: 1 }),
    result({ name: "base" }),
    result({ name: "all", distinctAdapters: 16, tokensPerSecond: 400, adapterBytesPerStep: 1e8 }),
    result({ name: "no base like it", distinctAdapters: 1, streams: 4, rowsPerStep: 4 }),
  ];
  const peaks = { readBytes: 1e10, int8Operations: 1, floatOperations: 1 };
  const costs = adapterCosts(results, peaks); // 10 ms and 10 ms: half of the base's speed
  assert.deepEqual(costs, [
    { name: "all", bytesPerStep: 1e8, ofBase: 0.4, bound: 0.5, ofBound: 0.8 },
  ]);
  assert.match(costTable(costs), /MB\/step.*\nall +100\.0 +0\.400 +0\.500 +0\.800$/);
});
