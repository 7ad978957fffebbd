import assert from "node:assert/strict";
import { test } from "node:test";
import { MOST_PAGES_FOUND } from "./scheduler.js";
import { plain, roomy, Simulation } from "./simulation.js";

test("those that wait for shared pages look on from where they were, and make each page's key once", (context) => {
  const simulation = new Simulation({ ...roomy, maxBatch: 8, pages: 256 });
  const prompt = Array.from({ length: 800 }, (_, index) => index % 7);
  const submitted = Array.from({ length: 8 }, (_, seed) =>
    simulation.submit({ ...plain, prompt, seed }),
  );
  const { scheduler } = simulation;
  const keys = context.mock.method(String, "fromCharCode").mock; // called for each page's key alone
  const published = () => Math.max(...scheduler.running.map((sequence) => sequence.published), 0);
  let before = 0;
  let shared = 0;
  do {
    const waiting = scheduler.waiting.length;
    const made = published() - before;
    before += made;
    keys.resetCalls();
    simulation.plan();
    const most = waiting * (made + 1) + scheduler.running.length;
    assert.ok(keys.callCount() <= most, `${keys.callCount()} keys, ${most} at most`);
    if (waiting === 7 && made > 0) shared += 1;
    simulation.finishStep();
  } while (scheduler.waiting.length > 0);
  assert.ok(shared >= 10, `${shared} plans with seven that waited for more`);
  simulation.drain();
  for (const { sequence } of submitted.slice(1)) assert.equal(sequence.cachedTokens, 784);
});

test("long cached prompts that come together are let in over several plans, in their order", () => {
  const simulation = new Simulation({ ...roomy, maxBatch: 16, maxRows: 512, pages: 700 });
  const prompt = Array.from({ length: 8200 }, (_, index) => index % 7);
  simulation.submit({ ...plain, prompt });
  simulation.drain();
  const submitted = Array.from({ length: 12 }, (_, seed) =>
    simulation.submit({ ...plain, prompt, seed, maxTokens: 4 }),
  );
  const phases = () => submitted.map(({ sequence }) => sequence.phase);
  simulation.plan();
  const first = MOST_PAGES_FOUND / 512;
  assert.deepEqual(phases(), [
    ...Array(first).fill("running"),
    ...Array(12 - first).fill("waiting"),
  ]);
  simulation.plan();
  assert.deepEqual(phases(), Array(12).fill("running"));
  simulation.drain();
  for (const { sequence } of submitted) assert.equal(sequence.cachedTokens, 8192);
});
