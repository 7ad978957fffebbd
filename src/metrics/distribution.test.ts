import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Histogram, Registry } from "prom-client";
import { Distribution } from "./distribution.js";

const BUCKETS = [0.0001, 0.005, 0.01, 1, 2.5, 640];
const values = fc.array(
  fc.record({
    value: fc.oneof(fc.constantFrom(...BUCKETS, 0), fc.double({ min: 0, max: 1000, noNaN: true })),
    label: fc.constantFrom("plan", "emit", 'a "name"\nof two lines'),
  }),
);

test("a distribution writes what prom-client's histogram does", async () => {
  const property = fc.asyncProperty(values, fc.boolean(), async (observed, labelled) => {
    const [ours, theirs] = [new Registry(), new Registry()];
    for (const registry of [ours, theirs]) registry.setDefaultLabels({ engine: "0" });
    const named = { name: "a_seconds", help: "How long a thing took." };
    const labels = labelled ? (["callback"] as const) : ([] as const);
    const distribution = new Distribution({ ...named, labels, buckets: BUCKETS }, ours);
    const rest = { labelNames: [...labels], buckets: BUCKETS, registers: [theirs] };
    const histogram = new Histogram({ ...named, ...rest });
    for (const { value, label } of observed) {
      if (labelled) distribution.observe(value, label);
      else distribution.observe(value);
      histogram.observe(labelled ? { callback: label } : {}, value);
    }
    assert.equal(await ours.metrics(), await theirs.metrics());
  });
  await fc.assert(property);
});

test("what is not a finite number is refused as prom-client does, and leaves nothing behind", async () => {
  const registry = new Registry();
  const row = { name: "a_seconds", help: "How long a thing took.", buckets: BUCKETS };
  const distribution = new Distribution({ ...row, labels: ["callback"] }, registry);
  distribution.observe(2, "plan");
  const before = await registry.metrics();
  const histogram = new Histogram({ ...row, labelNames: ["callback"], registers: [] });
  for (const value of [Number.NaN, Infinity, -Infinity]) {
    const refusal = { name: "TypeError", message: `Value is not a valid number: ${value}` };
    assert.throws(() => histogram.observe({ callback: "emit" }, value), refusal);
    assert.throws(() => distribution.observe(value, "emit"), refusal);
  }
  assert.equal(await registry.metrics(), before);
});
