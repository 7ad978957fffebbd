import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadText } from "../text/load-text.js";
import { nativeModule } from "./engine.js";
import { fill } from "./hand-filled-step.js";
import {
  type Activations,
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

/** The adapter that the project comes with; its name in test/fixtures/trained/golden.json. */
const ADAPTER = fromRoot("models/adapters/function-calls");

interface Case {
  readonly prompt_ids: readonly number[];
  readonly first_top10_logprobs: readonly (readonly [number, number])[];
  readonly greedy_ids: readonly number[];
  readonly greedy_gap: readonly number[];
}
interface Golden {
  readonly cases: readonly Case[];
  readonly perplexity: { readonly text: string; readonly mean_nll: number };
}
const golden: Golden = readJson("test/fixtures/smollm2/golden.json");
const trained: Pick<Golden, "cases"> = readJson("test/fixtures/trained/golden.json");

function fromRoot(path: string): string {
  return fileURLToPath(new URL(`../../../${path}`, import.meta.url));
}

function readJson(path: string) {
  return JSON.parse(readFileSync(fromRoot(path), "utf8"));
}

const MAX_MODEL_LEN = 512;

/** Below this gap between the two likeliest tokens rounding may choose either. */
const CLOSE_CALL = 0.05;

const load = (activations: Activations, kernelPath = "") =>
  nativeModule().loadEngine(
    {
      modelPath: MODEL,
      device: "cpu",
      threads: 2,
      maxModelLen: MAX_MODEL_LEN,
      maxBatch: 16,
      maxBatchTokens: 1024,
      kvMemory: 512 * 2 ** 20,
      adapterMemory: 64 * 2 ** 20,
      gpuAdapterMemory: 64 * 2 ** 20,
      gpuProducts: "invariant",
      cublaslt: "",
      maxLoadedAdapters: 1,
      activations,
      adapterDtype: "stored",
      quantize: "none",
      profile: false,
      kernelPath,
    },
    () => {},
  );

interface Job {
  readonly golden: Case;
  readonly adapter: number;
}

/** All jobs in one batch: differences of their first log probabilities, then greedy tokens. */
async function runCases(engine: NativeEngine, jobs: readonly Job[], most = MAX_MODEL_LEN) {
  const arrays = allocateStepArrays(engine.info.limits);
  const batch = engine.createBatch(arrays);
  const sampled: number[][] = jobs.map(() => []);
  let differences: number[] = [];
  const length = Math.min(most, Math.max(...jobs.map((job) => job.golden.greedy_ids.length)));
  for (let k = 0; k < length; k++) {
    const pieces = jobs.map(({ golden: { prompt_ids: prompt }, adapter }, slot) => ({
      slot,
      tokens: k === 0 ? prompt : ("from slot" as const),
      context: k === 0 ? 0 : prompt.length + k - 1,
      firstPage: (slot * MAX_MODEL_LEN) / PAGE_TOKENS,
      adapter,
      sample: true,
      flags: k === 0 ? SequenceFlag.logprobs : 0,
    }));
    fill(arrays, pieces);
    arrays.topLogprobs.fill(k === 0 ? MAX_TOP_LOGPROBS : 0);
    await engine.step(batch);
    for (const [i, list] of sampled.entries()) list.push(arrays.sampled[i] ?? -1);
    if (k === 0) differences = logprobDifferences(arrays, jobs);
  }
  return { differences, sampled };
}

function logprobDifferences(arrays: StepArrays, jobs: readonly Job[]): number[] {
  return jobs.flatMap(({ golden: { first_top10_logprobs: want } }, i) => {
    const at = i * MAX_TOP_LOGPROBS;
    const tokens = arrays.topTokens.subarray(at, at + MAX_TOP_LOGPROBS);
    return want.map(([token, logprob]) => {
      const found = tokens.indexOf(token);
      assert.notEqual(found, -1, `case ${i}: token ${token} is not among the likeliest`);
      return Math.abs((arrays.topLogprobValues[at + found] ?? Number.NaN) - logprob);
    });
  });
}

const ofBase = golden.cases.map((golden): Job => ({ golden, adapter: 0 }));

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

test("in float32 the default model and its adapter, in one batch, say what their weights say", {
  skip,
}, async (context) => {
  const engine = await load("fp32");
  const { handle } = await engine.loadAdapter(ADAPTER);
  assert.ok(await engine.acquireAdapter(handle));
  const ofAdapter = trained.cases.map((golden): Job => ({ golden, adapter: handle }));
  const jobs = ofBase.flatMap((job, i) => [job, ...ofAdapter.slice(i, i + 1)]); // rows in turn
  const { differences, sampled } = await runCases(engine, jobs);
  context.diagnostic(`log probabilities differ by at most ${Math.max(...differences)}`);
  assert.ok(Math.max(...differences) <= 2e-2, `log probabilities differ by ${differences}`);
  for (const [i, { golden }] of jobs.entries()) {
    const close = golden.greedy_gap.findIndex((gap) => gap <= CLOSE_CALL);
    const certain = close === -1 ? golden.greedy_ids.length : close;
    assert.deepEqual(sampled[i]?.slice(0, certain), golden.greedy_ids.slice(0, certain));
  }
  const nll = await meanNll(engine);
  assert.ok(Math.abs(nll / golden.perplexity.mean_nll - 1) < 1e-3, `mean nll ${nll}`);
  await engine.close();
});

/** How far integer activations may be from float32 on the golden prompts and text. */
interface Budget {
  readonly most: number; // of a first log probability
  readonly rootMeanSquare: number;
  readonly nll: number; // share of the mean negative log likelihood
}
// One digit in blocks of 32 cannot hold each of the 100 values near. llama.cpp, which rounds in the
// same way, has 0.105 in the root mean square.
const BUDGETS: Readonly<Record<Exclude<Activations, "fp32">, Budget>> = {
  auto: { most: 0.15, rootMeanSquare: 0.05, nll: 0.01 },
  int8: { most: Infinity, rootMeanSquare: 0.12, nll: 0.01 },
};

for (const path of nativeModule().cpuPaths()) {
  for (const activations of ["auto", "int8"] as const) {
    const name = `with ${activations} activations it says nearly the same on ${path}`;
    test(name, { skip }, async (context) => {
      const engine = await load(activations, path);
      const { differences } = await runCases(engine, ofBase, 1);
      const most = Math.max(...differences);
      const rms = rootMeanSquare(differences);
      const nll = (await meanNll(engine)) / golden.perplexity.mean_nll - 1;
      context.diagnostic(
        `log probabilities differ by ${most.toFixed(3)} at most, ${rms.toFixed(3)} in the root mean square; mean nll by ${(100 * nll).toFixed(3)} %`,
      );
      const budget = BUDGETS[activations];
      assert.ok(most <= budget.most, `log probabilities differ by ${differences}`);
      assert.ok(rms <= budget.rootMeanSquare, `${rms} in the root mean square`);
      assert.ok(Math.abs(nll) < budget.nll, `mean nll is off by ${nll} of it`);
      await engine.close();
    });
  }
}

function rootMeanSquare(values: readonly number[]): number {
  return Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
}
