import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadText } from "../text/load-text.js";
import { nativeModule } from "./engine.js";
import { fill } from "./hand-filled-step.js";
import {
  MAX_TOP_LOGPROBS,
  type NativeEngine,
  PAGE_TOKENS,
  SequenceFlag,
  type StepArrays,
} from "./native.js";
import { allocateStepArrays } from "./step-batch.js";

/** Set by scripts/test.mjs when the default model is in the cache. */
const MODEL = process.env.SMORE_TEST_MODEL ?? "";
const skip = MODEL === "" ? "SMORE_TEST_MODEL is not set" : false;

interface Golden {
  readonly cases: readonly {
    readonly prompt_ids: readonly number[];
    readonly first_top10_logprobs: readonly (readonly [number, number])[];
    readonly greedy_ids: readonly number[];
    readonly greedy_gap: readonly number[];
  }[];
  readonly perplexity: { readonly text: string; readonly mean_nll: number };
}
const golden: Golden = JSON.parse(
  readFileSync(
    fileURLToPath(new URL("../../../test/fixtures/smollm2/golden.json", import.meta.url)),
    "utf8",
  ),
);

const MAX_MODEL_LEN = 512;

/** Below this gap between the two likeliest tokens rounding may choose either. */
const CLOSE_CALL = 0.05;

const load = (fp32Activations: boolean) =>
  nativeModule().loadEngine(
    {
      modelPath: MODEL,
      threads: 2,
      maxModelLen: MAX_MODEL_LEN,
      maxBatch: 16,
      maxBatchTokens: 1024,
      kvMemory: 512 * 2 ** 20,
      adapterMemory: 0,
      maxLoadedAdapters: 1,
      fp32Activations,
      adapterDtype: "stored",
      quantize: "none",
      profile: false,
      kernelPath: "",
    },
    () => {},
  );

/** All cases in one batch: differences of the first log probabilities, then greedy tokens. */
async function runCases(engine: NativeEngine) {
  const arrays = allocateStepArrays(engine.info.limits);
  const batch = engine.createBatch(arrays);
  const sampled: number[][] = golden.cases.map(() => []);
  let differences: number[] = [];
  const length = Math.max(...golden.cases.map(({ greedy_ids }) => greedy_ids.length));
  for (let k = 0; k < length; k++) {
    const pieces = golden.cases.map(({ prompt_ids: prompt }, slot) => ({
      slot,
      tokens: k === 0 ? prompt : ("from slot" as const),
      context: k === 0 ? 0 : prompt.length + k - 1,
      firstPage: (slot * MAX_MODEL_LEN) / PAGE_TOKENS,
      sample: true,
      flags: k === 0 ? SequenceFlag.logprobs : 0,
    }));
    fill(arrays, pieces);
    arrays.topLogprobs.fill(k === 0 ? MAX_TOP_LOGPROBS : 0);
    await engine.step(batch);
    for (const [i, list] of sampled.entries()) list.push(arrays.sampled[i] ?? -1);
    if (k === 0) differences = logprobDifferences(arrays);
  }
  return { differences, sampled };
}

function logprobDifferences(arrays: StepArrays): number[] {
  return golden.cases.flatMap(({ first_top10_logprobs: want }, i) => {
    const at = i * MAX_TOP_LOGPROBS;
    const tokens = arrays.topTokens.subarray(at, at + MAX_TOP_LOGPROBS);
    return want.map(([token, logprob]) => {
      const found = tokens.indexOf(token);
      assert.notEqual(found, -1, `case ${i}: token ${token} is not among the likeliest`);
      return Math.abs((arrays.topLogprobValues[at + found] ?? Number.NaN) - logprob);
    });
  });
}

/** Mean negative log likelihood of the golden text. */
async function meanNll(engine: NativeEngine): Promise<number> {
  const text = loadText(MODEL);
  assert.ok(text.tokenizer);
  const tokens = await text.tokenizer.encode(golden.perplexity.text);
  const arrays = allocateStepArrays(engine.info.limits);
  const batch = engine.createBatch(arrays);
  fill(arrays, [
    {
      slot: 0,
      tokens,
      context: 0,
      firstPage: 0,
      sample: false,
      flags: SequenceFlag.promptLogprobs,
    },
  ]);
  for (const [t] of tokens.entries()) arrays.nextTokens[t] = tokens[t + 1] ?? -1;
  await engine.step(batch);
  assert.equal(arrays.status[0], 0);
  const total = arrays.rowLogprob.subarray(0, tokens.length - 1).reduce((sum, x) => sum - x, 0);
  return total / (tokens.length - 1);
}

test("the default model in float32 says what its dequantised weights say", { skip }, async () => {
  const engine = await load(true);
  const { differences, sampled } = await runCases(engine);
  assert.ok(Math.max(...differences) <= 2e-2, `log probabilities differ by ${differences}`);
  for (const [i, { greedy_ids: want, greedy_gap: gaps }] of golden.cases.entries()) {
    const close = gaps.findIndex((gap) => gap <= CLOSE_CALL);
    const certain = close === -1 ? want.length : close;
    assert.deepEqual(sampled[i]?.slice(0, certain), want.slice(0, certain));
  }
  const nll = await meanNll(engine);
  assert.ok(Math.abs(nll / golden.perplexity.mean_nll - 1) < 1e-3, `mean nll ${nll}`);
  await engine.close();
});

test("with 8-bit activations it says nearly the same", { skip }, async () => {
  const engine = await load(false);
  const { differences } = await runCases(engine);
  const square = differences.reduce((sum, x) => sum + x * x, 0) / differences.length;
  assert.ok(Math.sqrt(square) <= 0.15, `log probabilities differ by ${differences}`);
  const nll = await meanNll(engine);
  assert.ok(Math.abs(nll / golden.perplexity.mean_nll - 1) < 0.01, `mean nll ${nll}`);
  await engine.close();
});
