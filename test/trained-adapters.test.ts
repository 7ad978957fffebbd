import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { complete, serve } from "./support/command.js";
import { FIXTURES } from "./support/goldens.js";

/** Every adapter that the project comes with, through the server, against what the code that trained it computes. */

const MODEL = process.env.SMORE_TEST_MODEL ?? "";
const skip = MODEL === "" ? "SMORE_TEST_MODEL is not set" : false;

const ADAPTERS = fileURLToPath(new URL("../../models/adapters", import.meta.url));
const names = readdirSync(ADAPTERS).filter((name) =>
  existsSync(join(ADAPTERS, name, "adapter_config.json")),
);

const MOST_BYTES = 5 * 2 ** 20;
const MOST_BYTES_TOGETHER = 24e6;
const LEAST_GAIN = 0.4;
/** Of the adapter that is served by default: what the base may score at most, and it at least. */
const DEFAULT_ADAPTER = { name: "function-calls", base: 0.2, adapter: 0.8 };
/** An expert that gets this share of its level's tokens is in use; half of a level's are to be. */
const IN_USE = 0.05;
/** What the adapter for all tasks may answer worse than the task's own. */
const MOST_LOST = 0.1;
const FOR_ALL_TASKS = "mixed";

type Label = "cases" | "base" | "base, told" | Own | ForAll;
type Own = "adapter" | "one sub-tree";
type ForAll = "mixed" | "mixed, one sub-tree";
type Scores = Readonly<Record<Label, number>>;

const fromRoot = (path: string) =>
  readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), "utf8");
const scores = JSON.parse(fromRoot("models/eval/scores.json")) as Readonly<Record<string, Scores>>;
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** Of the row of a Markdown table that starts like this. */
const cells = (document: string, start: string) =>
  fromRoot(document)
    .split("\n")
    .find((line) => line.startsWith(start))
    ?.replaceAll("*", "")
    .split("|")
    .map((cell) => cell.trim());
const bytesOf = (name: string) => statSync(join(ADAPTERS, name, "adapter_model.safetensors")).size;

test("all adapters are small, one by one and together", () => {
  assert.ok(names.includes(FOR_ALL_TASKS));
  for (const name of names) assert.ok(bytesOf(name) <= MOST_BYTES, name);
  const together = names.reduce((sum, name) => sum + bytesOf(name), 0);
  assert.ok(together <= MOST_BYTES_TOGETHER, `${together} bytes`);
});

for (const name of names.filter((name) => name !== FOR_ALL_TASKS)) {
  test(`${name} is much better than the base, and told about as it was measured`, () => {
    const { base, adapter, ...rest } = scores[name]!;
    assert.ok(adapter - Math.max(base, rest["base, told"]) >= LEAST_GAIN);
    const measured = [base, rest["base, told"], adapter].map(percent);
    const oneSubTree = percent(rest["one sub-tree"]);
    const told = cells("README.md", `| [\`${name}\`]`)?.slice(3, 7);
    assert.deepEqual(told, [...measured, oneSubTree]);
    const [, , cases, ...row] = cells("docs/adapters.md", `| \`${name}\` |`) ?? [];
    assert.deepEqual([Number(cases), ...row.slice(0, 4)], [rest.cases, ...measured, oneSubTree]);
  });
}

test(`${DEFAULT_ADAPTER.name} has learned what the base cannot do`, () => {
  const { base, adapter } = scores[DEFAULT_ADAPTER.name]!;
  assert.ok(base <= DEFAULT_ADAPTER.base && adapter >= DEFAULT_ADAPTER.adapter);
});

test("every adapter was trained to use at least half of the experts of each level", () => {
  for (const name of names) {
    const file = fromRoot(`models/train/records/${name}.json`);
    const shares = (JSON.parse(file) as { expert_shares: number[][] }).expert_shares;
    assert.ok(shares.length >= 2, name);
    for (const level of shares) {
      const used = level.filter((share) => share >= IN_USE).length;
      assert.ok(used >= level.length / 2, `${name}: ${level}`);
    }
  }
});

test(`${FOR_ALL_TASKS} answers every task about as well as the task's own adapter, as it is told`, () => {
  for (const [task, { adapter, mixed, ...rest }] of Object.entries(scores)) {
    assert.ok(mixed >= adapter - MOST_LOST, task);
    const told = cells("docs/adapters.md", `| \`${FOR_ALL_TASKS}\` on \`${task}\``)?.slice(2, 5);
    assert.deepEqual(told, [adapter, mixed, rest["mixed, one sub-tree"]].map(percent), task);
  }
  const means = (["base", "base, told", "mixed", "mixed, one sub-tree"] as const).map((label) => {
    const shares = Object.values(scores).map((task) => task[label]);
    return percent(shares.reduce((sum, share) => sum + share) / shares.length);
  });
  assert.deepEqual(cells("README.md", `| [\`${FOR_ALL_TASKS}\`]`)?.slice(3, 7), means);
});

/** Below this gap between the two likeliest tokens rounding may choose either. */
const CLOSE_CALL = 0.05;
const LOGPROB_TOLERANCE = 2e-2;
const TOP = 5;

interface Case {
  readonly prompt_ids: readonly number[];
  readonly first_top10_logprobs: readonly (readonly [number, number])[];
  readonly greedy_ids: readonly number[];
  readonly greedy_gap: readonly number[];
}

interface Reply {
  readonly choices: readonly {
    readonly logprobs: {
      readonly tokens: readonly string[];
      readonly top_logprobs: readonly Readonly<Record<string, number>>[];
    };
  }[];
}

const BASE = "base";

/** Of an adapter what its training says; of the base what another implementation does. */
function recorded(name: string): readonly Case[] {
  const file = name === "function-calls" ? "golden" : name;
  const path = name === BASE ? "smollm2/golden.json" : `trained/${file}.json`;
  return (JSON.parse(readFileSync(join(FIXTURES, path), "utf8")) as { cases: Case[] }).cases;
}

test("in float32 base and adapters say, in one batch, what was recorded of each", {
  skip,
}, async (context) => {
  const budgets = ["--kv-memory", "64MiB", "--adapter-memory", "64MiB", "--threads", "2"];
  const options = ["--activations", "fp32", "--adapters-dir", ADAPTERS, ...budgets];
  const served = ["--model", MODEL, "--served-model-name", BASE];
  const { url } = await serve(context, [...served, ...options]);
  const jobs = [BASE, ...names].flatMap((model) =>
    recorded(model).map((item) => ({ model, item })),
  );
  const replies = await Promise.all(
    jobs.map(async ({ model, item }) => {
      const response = await complete(url, {
        model,
        prompt: item.prompt_ids,
        max_tokens: item.greedy_ids.length,
        temperature: 0,
        logprobs: TOP,
        return_tokens_as_token_ids: true,
        ignore_eos: true,
      });
      assert.equal(response.status, 200);
      return ((await response.json()) as Reply).choices[0]!.logprobs;
    }),
  );
  for (const [index, { model, item }] of jobs.entries()) {
    const { tokens, top_logprobs: top } = replies[index]!;
    const close = item.greedy_gap.findIndex((gap) => gap <= CLOSE_CALL);
    const certain = close === -1 ? item.greedy_ids.length : close;
    const wanted = item.greedy_ids.slice(0, certain).map((id) => `token_id:${id}`);
    assert.deepEqual(tokens.slice(0, certain), wanted, `${model}, case ${index}`);
    for (const [id, logprob] of item.first_top10_logprobs.slice(0, TOP - 1)) {
      const got = top[0]?.[`token_id:${id}`];
      assert.ok(
        got !== undefined && Math.abs(got - logprob) <= LOGPROB_TOLERANCE,
        `${model}, case ${index}: token ${id} has ${got}, its training says ${logprob}`,
      );
    }
  }
});
