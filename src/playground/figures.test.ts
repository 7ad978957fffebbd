import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, milliseconds, percent, visible } from "./format.js";
import { MetricsText } from "./metrics-text.js";
import { SAMPLING_CONTROLS, samplingFields } from "./sampling.js";

test("metrics are sums over their series, and no name is taken for the beginning of another", () => {
  const text = new MetricsText(
    '# TYPE pages gauge\npages{tier="host"} 3\npages{tier="disk"} 4.5\npages_total 100\nplain 7\n',
  );
  assert.equal(text.sum("pages"), 7.5);
  assert.equal(text.sum("plain"), 7);
  assert.equal(text.sum("page"), null);
});

test("what is off is not asked for", () => {
  assert.deepEqual(samplingFields(new Map(), ""), { temperature: 0.2, max_tokens: 256 });
  const values = new Map([
    ["temperature", 0],
    ["top_p", 0.9],
    ["top_k", 0],
  ]);
  assert.deepEqual(samplingFields(values, " 42 "), {
    temperature: 0,
    top_p: 0.9,
    max_tokens: 256,
    seed: 42,
  });
  assert.deepEqual(samplingFields(new Map(), "-1"), samplingFields(new Map(), ""));
});

test("every control begins within its range", () => {
  for (const { field, min, max, initial } of SAMPLING_CONTROLS) {
    assert.ok(initial >= min && initial <= max, field);
  }
});

test("figures have three digits, and blanks can be seen", () => {
  assert.deepEqual([0, 999, 4650, 46_500_000, 465e9, 4e15].map(bytes), [
    "0 B",
    "999 B",
    "4.65 kB",
    "46.5 MB",
    "465 GB",
    "4000 TB",
  ]);
  assert.deepEqual([12.4, 1234].map(milliseconds), ["12 ms", "1.23 s"]);
  assert.deepEqual([0, 0.034, 0.5].map(percent), ["0 %", "3.4 %", "50 %"]);
  assert.deepEqual([" Paris", "\n\n", "", "a b"].map(visible), ["␣Paris", "⏎⏎", "end", "a b"]);
});
