import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { nativeModule } from "../src/engine/engine.js";
import { complete, readMetrics, serve } from "./support/command.js";
import { FIXTURES, type GoldenCase, goldenCases, logSoftmax } from "./support/goldens.js";

/**
 * Whole models and their adapters through the running server, in float32: what the original
 * implementations recorded, with all prompts of all adapters and of the base asked at once.
 */

interface Served {
  readonly model: string;
  readonly goldens: readonly string[]; // folders with an index.json, a golden.safetensors, adapters
}

const own = (folder: string): Served => ({ model: `${folder}/model`, goldens: [folder] });
const MODELS: readonly Served[] = [
  own("tiny-llama-smore/tied"),
  {
    model: "tiny-llama-smore/untied/model",
    goldens: ["tiny-llama-smore/untied", "family/lora-variants"],
  },
  own("tiny-gemma2-smore"),
  own("families/llama3-rope"),
  own("families/qwen2"),
  own("families/qwen3"),
  own("families/gemma2"),
  own("families/mistral"),
];

/** Of a log probability. */
const TOLERANCE = 2e-2;
const TOP = 20;

interface Answer {
  readonly choices: readonly {
    readonly token_ids: readonly number[];
    readonly logprobs: { readonly top_logprobs: readonly (Record<string, number> | null)[] };
  }[];
}

function adapterOptions(folder: string): string[] {
  const names = new Set(goldenCases(folder).map(({ variant }) => variant));
  names.delete("base");
  return [...names].flatMap((name) => ["--adapter", `${name}=${join(folder, "adapters", name)}`]);
}

/** Greedy tokens equal, log probabilities near; returns the largest difference of these. */
async function compare(url: string, golden: GoldenCase): Promise<number> {
  const { variant, prompt, tokens, logits } = golden;
  const response = await complete(url, {
    model: variant,
    prompt,
    max_tokens: tokens.length,
    echo: true,
    logprobs: TOP,
    return_token_ids: true,
  });
  const [choice] = ((await response.json()) as Answer).choices;
  assert.ok(choice);
  const what = `${variant}, prompt of ${prompt.length}`;
  assert.deepEqual(choice.token_ids, tokens, what);
  const tops = choice.logprobs.top_logprobs.slice(1); // nothing chose the first token
  assert.equal(tops.length, prompt.length - 1 + tokens.length, what);
  const differences = logits.map((row, at) => {
    const top = tops[at];
    assert.ok(top, `${what}, position ${at + 1}`);
    return topDifference(top, logSoftmax(row));
  });
  const most = Math.max(...differences);
  const worst = differences.indexOf(most) + 1;
  assert.ok(most <= TOLERANCE, `${what}: log probabilities differ by ${most} at position ${worst}`);
  return most;
}

/** Between the likeliest tokens as answered and as recorded: by token, and by rank. */
function topDifference(top: Readonly<Record<string, number>>, want: Float64Array): number {
  const got = Object.entries(top).map(([name, logprob]) => ({
    token: Number(/^token_id:(\d+)$/.exec(name)?.[1]),
    logprob,
  }));
  // One more where the chosen token is not among the likeliest.
  assert.ok(got.length === TOP || got.length === TOP + 1, `${got.length} alternatives`);
  const ranked = got.map(({ logprob }) => logprob).sort((a, b) => b - a);
  const likeliest = want.toSorted((a, b) => b - a);
  return Math.max(
    ...got.map(({ token, logprob }) => Math.abs(logprob - want[token]!)),
    ...ranked.slice(0, TOP).map((logprob, rank) => Math.abs(logprob - likeliest[rank]!)),
  );
}

for (const path of nativeModule().cpuPaths()) {
  describe(`a served model says what was recorded on ${path}, adapters and base at once:`, {
    concurrency: 2,
  }, () => {
    for (const { model, goldens } of MODELS) {
      test(goldens.join(" and "), (context) => checkServed(context, path, model, goldens));
    }
  });
}

async function checkServed(
  context: TestContext,
  path: string,
  model: string,
  goldens: readonly string[],
): Promise<void> {
  const folders = goldens.map((folder) => join(FIXTURES, folder));
  const cases = folders.flatMap(goldenCases);
  const { url, output } = await serve(context, [
    ...["--model", join(FIXTURES, model), "--served-model-name", "base"],
    ...["--activations", "fp32", "--kernel-path", path],
    ...folders.flatMap(adapterOptions),
  ]);
  assert.match(output(), new RegExp(`\\(${path}-fp32,`));
  const differences = await Promise.all(cases.map((golden) => compare(url, golden)));
  context.diagnostic(`log probabilities differ by at most ${Math.max(...differences)}`);
  const total = await readMetrics(url);
  const together = total("smore_sampled_rows_total") / total("smore_steps_total");
  assert.ok(together > 1, `${together} requests per step`);
}
