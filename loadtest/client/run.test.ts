import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import fc from "fast-check";
import { runSchedule } from "./run.js";
import type { Outcome, Sendable } from "./stream.js";

const requestsOf = (count: number): Sendable[] =>
  Array.from({ length: count }, (_, index) => ({ model: `m${index}`, body: "" }));

function outcomeOf({ model }: Sendable): Outcome {
  const start = performance.now();
  const counts = { promptTokens: 0, outputTokens: 1, usageTold: false };
  return { model, start, times: [start], ...counts, text: null, error: null };
}

test("never more requests at a time than allowed, all of them in order, whatever their lengths", async () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(lengths, fc.integer({ min: 1, max: 5 }), async (each, maxConcurrency) => {
      const requests = requestsOf(each.length);
      const sent: string[] = [];
      let [active, most] = [0, 0];
      const arrivals = new Float64Array(each.length);
      const { outcomes } = await runSchedule(
        { requests, arrivals, maxConcurrency },
        async (request) => {
          most = Math.max(most, ++active);
          sent.push(request.model);
          await setTimeout(each[sent.length - 1]!);
          active--;
          return outcomeOf(request);
        },
      );
      const names = requests.map(({ model }) => model);
      assert.deepEqual(sent, names);
      assert.deepEqual(
        outcomes.map(({ model }) => model),
        names,
      );
      assert.equal(most, Math.min(maxConcurrency, each.length));
    }),
    { numRuns: 25 },
  );
});

test("no request is sent before it is due", async () => {
  const arrivals = Float64Array.of(0, 0.02, 0.02, 0.05);
  const schedule = { requests: requestsOf(4), arrivals, maxConcurrency: Infinity };
  const { outcomes, start } = await runSchedule(schedule, async (request) => outcomeOf(request));
  for (const [index, outcome] of outcomes.entries()) {
    assert.ok(outcome.start - start >= 1000 * arrivals[index]!);
  }
});
