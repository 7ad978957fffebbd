import assert from "node:assert/strict";
import { test } from "node:test";
import { SequenceFlag } from "../engine/native.js";
import { allocateStepArrays } from "../engine/step-batch.js";
import { mixOf } from "./mix.js";
import { Scheduler } from "./scheduler.js";
import { requestOf } from "./simulation.js";

const limits = {
  rows: 32,
  sequences: 4,
  blocks: 16,
  history: 64,
  biases: 8,
  bans: 4,
  routes: 4,
  width: 1,
  maskWords: 1,
  layerWords: 1,
};
const job = {
  prompt: [5, 6, 7],
  mix: mixOf(0),
  maxTokens: 3,
  seed: 0,
  penalties: false,
  ignoreEos: true,
  promptLogprobs: false,
};

function planner() {
  const scheduler = new Scheduler({ limits, slots: 8, pages: 16 });
  return { scheduler, first: allocateStepArrays(limits), second: allocateStepArrays(limits) };
}

test("rows of several sequences lie one behind the other, with their pages", () => {
  const { scheduler, first } = planner();
  scheduler.submit(requestOf(job));
  scheduler.submit(requestOf({ ...job, prompt: [8, 9] }));
  scheduler.plan(first);
  assert.deepEqual([...first.counts], [5, 2]);
  assert.deepEqual([...first.tokens.subarray(0, 5)], [5, 6, 7, 8, 9]);
  assert.deepEqual([...first.rowStart.subarray(0, 3)], [0, 3, 5]);
  assert.deepEqual([...first.blockStart.subarray(0, 3)], [0, 1, 2]);
  assert.notEqual(first.blocks[0], first.blocks[1]);
  assert.equal(first.flags[0], SequenceFlag.sample | SequenceFlag.restoreHistory);
});

test("the look-ahead step takes its token from the slot", () => {
  const { scheduler, first, second } = planner();
  scheduler.submit(requestOf(job));
  scheduler.plan(first);
  scheduler.plan(second);
  assert.equal(second.flags[0], SequenceFlag.sample | SequenceFlag.tokenFromSlot);
  assert.deepEqual([first.slot[0], first.context[0]], [second.slot[0], 0]);
  assert.deepEqual([second.context[0], second.sampleIndex[0]], [3, 1]);
});

test("a history travels once, with the first step of its slot, and only for penalties", () => {
  const { scheduler, first, second } = planner();
  scheduler.submit(requestOf({ ...job, penalties: true }));
  scheduler.plan(first);
  scheduler.plan(second);
  assert.deepEqual([...first.history.subarray(0, first.historyStart[1])], [5, 6, 7]);
  assert.equal(first.historyPrompt[0], 3);
  assert.ok(first.flags[0]! & SequenceFlag.penalties);
  assert.equal(second.historyStart[1], 0);
});

test("a seed's 64 bits and the logit biases reach the engine", () => {
  const { scheduler, first } = planner();
  const request = requestOf(job);
  const logitBias = new Map([
    [7, -100],
    [9, 2.5],
  ]);
  const sampling = { ...request.sampling, seed: 0x1_0000_0002n, logitBias };
  scheduler.submit({ ...request, sampling });
  scheduler.plan(first);
  assert.deepEqual([...first.seed.subarray(0, 2)], [2, 1]);
  assert.deepEqual([...first.biasToken.subarray(0, 2)], [7, 9]);
  assert.deepEqual([...first.biasValue.subarray(0, 2)], [-100, 2.5]);
});

test("log-probabilities come back with as many alternatives as were asked for", () => {
  const { scheduler, first } = planner();
  scheduler.submit({ ...requestOf({ ...job, maxTokens: 1 }), logprobs: 2, promptLogprobs: 1 });
  const step = scheduler.plan(first)!;
  assert.equal(first.topLogprobs[0], 2);
  assert.deepEqual([...first.nextTokens.subarray(0, 2)], [6, 7]);
  first.sampled[0] = 4;
  first.sampledLogprob[0] = -0.5;
  first.topTokens.set([4, 3, 2]);
  first.topLogprobValues.set([-0.5, -1, -2]);
  first.rowLogprob.set([-3, -4]);
  const [prompt, token] = scheduler.commit(step).map(({ event }) => event);
  assert.deepEqual(prompt, {
    kind: "prompt",
    logprobs: [
      { token: 6, logprob: -3, top: [{ token: 0, logprob: 0 }] },
      { token: 7, logprob: -4, top: [{ token: 0, logprob: 0 }] },
    ],
  });
  const top = [
    { token: 4, logprob: -0.5 },
    { token: 3, logprob: -1 },
  ];
  const logprob = { token: 4, logprob: -0.5, top };
  assert.deepEqual(token, { kind: "token", token: 4, logprob, routes: null });
});
