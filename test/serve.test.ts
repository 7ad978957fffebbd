import assert from "node:assert/strict";
import { once } from "node:events";
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { getPriority, tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { BenchResult } from "../src/cli/bench-run.js";
import { nativeModule } from "../src/engine/engine.js";
import { PROFILE_STAGES } from "../src/engine/native.js";
import { printed, until } from "./harness.js";
import {
  complete,
  eventually,
  exitOf,
  golden,
  greedyTokens,
  greedyTokensOfAll,
  readMetrics,
  SMALL,
  serve,
  start,
  TINY,
} from "./support/command.js";
import { FIXTURES } from "./support/goldens.js";

/** The command as users run it, with the real engine on the tiny models. */

const ADAPTERS = ["--adapters-dir", join(TINY, "adapters"), "--activations", "fp32"];

test("several adapters and the base in one batch give the recorded tokens", async (context) => {
  const { url } = await serve(context, ADAPTERS);
  const jobs = Object.entries(golden.variants).flatMap(([variant, { greedy_tokens }]) =>
    [0, 1, 0, 1].map((prompt) => ({ variant, prompt, want: greedy_tokens[prompt] })),
  );
  const got = await Promise.all(
    jobs.map(({ variant, prompt }) =>
      greedyTokens(url, variant === "base" ? "tiny" : variant, golden.prompts[prompt]!),
    ),
  );
  assert.deepEqual(
    got,
    jobs.map(({ want }) => want),
  );
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const total = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(metrics)?.[1]);
  assert.equal(total("smore_base_passes_total"), total("smore_steps_total"));
  assert.match(metrics, /running_lora_adapters="lora,smore-noisy,smore-switch"/);
});

test("streams that outgrow the KV memory are computed again and give the same tokens", async (context) => {
  // Each needs 3 of 9 pages at its end, and 1 at its beginning: of the six of a request, which come
  // together, more get in than can grow.
  const small = ["--max-model-len", "96", "--kv-memory", "72KiB"];
  const { url } = await serve(context, [...ADAPTERS, ...small]);
  const [prompt] = golden.prompts;
  const six = Array<readonly number[]>(6).fill(prompt!);
  const names = ["tiny", "lora", "smore-noisy", "smore-switch"];
  const got = await Promise.all(names.map((name) => greedyTokensOfAll(url, name, six)));
  const want = names.map((name) => golden.variants[name === "tiny" ? "base" : name]!);
  assert.deepEqual(
    got,
    want.map(({ greedy_tokens }) => Array(6).fill(greedy_tokens[0])),
  );
  const metrics = await readMetrics(url);
  assert.ok(metrics("vllm:num_preemptions_total") > 0);
});

test("an adapter in a folder that cannot be loaded costs itself alone", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "smore-broken-"));
  context.after(() => rmSync(folder, { recursive: true }));
  cpSync(join(TINY, "adapters", "lora"), join(folder, "broken"), { recursive: true });
  writeFileSync(join(folder, "broken", "adapter_config.json"), "{");
  const { url, output } = await serve(context, ["--adapters-dir", folder]);
  await printed(output, /the folder \S*\/broken is not served: .*adapter_config\.json/);
  assert.equal((await complete(url, { model: "broken", prompt: [1] })).status, 404);
  assert.equal((await complete(url, { model: "tiny", prompt: [1], max_tokens: 1 })).status, 200);
});

test("an adapter that is named and cannot be served ends the start with one line", async () => {
  const start = ["serve", "--port", "0", "--model", join(TINY, "model"), ...SMALL];
  const broken = await exitOf([...start, "--adapter", `x=${join(TINY, "model")}`]);
  assert.equal(broken.code, 1);
  assert.match(broken.output, /^smore: --adapter x: .*adapter_config\.json.*\n$/m);
  for (const [option, value] of [
    ["--adapter", "x=/nope"],
    ["--adapters-dir", "/nope"],
  ] as const) {
    const { code, output } = await exitOf([...start, option, value]);
    assert.equal(code, 1);
    assert.match(output, /^smore: --adapter\S*( x)?: there is no folder "\/nope"\n$/);
  }
});

test("a folder without adapters is told", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "smore-empty-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const { output } = await serve(context, ["--adapters-dir", folder]);
  await printed(output, /no adapters in .*smore-empty-/);
});

test("a client that vanishes frees its sequences, and the others' tokens stay as they were", async (context) => {
  const { url } = await serve(context, ADAPTERS);
  const [choices, most] = [16, 240];
  const body = { model: "tiny", prompt: golden.prompts[1]!, n: choices, max_tokens: most };
  const response = await complete(url, { ...body, logprobs: 20, stream: true });
  const reader = response.body!.getReader();
  await reader.read();
  const names = ["lora", "smore-switch"] as const;
  const others = Promise.all(names.map((name) => greedyTokens(url, name, golden.prompts[0]!)));
  await reader.cancel();
  const want = names.map((name) => golden.variants[name]!.greedy_tokens[0]);
  assert.deepEqual(await others, want);
  const metrics = await eventually(url, (value) => value("vllm:num_requests_running") === 0);
  const generated = metrics("vllm:generation_tokens_total");
  assert.ok(generated < (choices * most) / 2, `${generated} tokens: it ran on`);
});

test("the engine's threads let the event loop go first", async (context) => {
  const { child } = await serve(context, []);
  const tasks = `/proc/${child.pid}/task`;
  const niceness = (thread: string) => {
    const stat = readFileSync(join(tasks, thread, "stat"), "utf8");
    return Number(stat.slice(stat.lastIndexOf(")")).split(" ")[17]); // the 19th field of all
  };
  const usual = getPriority();
  assert.equal(niceness(String(child.pid)), usual);
  const lower = readdirSync(tasks).filter((thread) => niceness(thread) === Math.min(usual + 5, 19));
  assert.ok(lower.length >= 2, "the engine's own thread and one of its pool");
});

test("SIGTERM finishes what runs and exits with 0", async (context) => {
  const { child, url } = await serve(context, []);
  const body = { model: "tiny", prompt: [1, 2, 3], max_tokens: 100, stream: true };
  const response = await complete(url, body);
  child.kill("SIGTERM");
  assert.match(await response.text(), /data: \[DONE\]/);
  const [code] = (await once(child, "exit")) as [number];
  assert.equal(code, 0);
});

test("a second signal ends at once", async (context) => {
  const { child, url } = await serve(context, ["--drain-delay", "60"]);
  child.kill("SIGTERM");
  while ((await fetch(`${url}/readyz`)).status !== 503);
  child.kill("SIGTERM");
  assert.deepEqual(await once(child, "exit"), [null, "SIGTERM"]);
});

test("a signal while it loads ends at once, whatever the engine is doing", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "smore-many-"));
  context.after(() => rmSync(folder, { recursive: true }));
  for (let i = 0; i < 2000; i++) {
    symlinkSync(join(TINY, "adapters", "smore-switch"), join(folder, `a${i}`));
  }
  const { child, output } = start(["--adapters-dir", folder, "--log-level", "info"]);
  context.after(() => child.kill("SIGKILL"));
  await until(() => output().includes("adapter loaded"), "it loads adapters");
  child.kill("SIGTERM");
  assert.deepEqual(await once(child, "exit"), [null, "SIGTERM"]);
});

test("what cannot be obeyed exits with 2 and one line that names it", async () => {
  assert.deepEqual(await exitOf(["serve", "--prot", "1"]), {
    code: 2,
    output: "smore: unknown option --prot; did you mean --port?\n",
  });
  assert.deepEqual(await exitOf(["serv"]), {
    code: 2,
    output: 'smore: unknown command "serv"; did you mean serve? (smore --help lists them)\n',
  });
});

test("a model that is not there exits with 1 and one line", async () => {
  const { code, output } = await exitOf(["serve", "--port", "0", "--model", "/nonsense"]);
  assert.equal(code, 1);
  assert.match(output, /^smore: no model "\/nonsense": .*\n$/);
});

test("verify passes every golden file on every kernel path and prints the sum last", async () => {
  const { code, output } = await exitOf(["verify", join(FIXTURES, "smore"), "--backend", "all"]);
  const lines = output.trimEnd().split("\n");
  const paths = nativeModule().cpuPaths();
  assert.deepEqual(
    lines.filter((line) => line.startsWith("kernel path ")),
    paths.map((path) => `kernel path ${path}`),
  );
  assert.equal(lines.filter((line) => line.startsWith("ok ")).length, 60 * paths.length);
  assert.equal(lines.at(-1), `${60 * paths.length} passed, 0 failed`);
  assert.equal(code, 0);
});

test("bench shows one pass over the base weights per step, whatever the adapters, and what each stage took", async () => {
  const { code, output } = await exitOf([
    ...["bench", "--model", join(TINY, "model"), ...SMALL, "--repeat", "1", "--json"],
    ...["--adapter", join(TINY, "adapters", "smore-switch"), "--copies", "8"],
    ...["--prompt", "32", "--tokens", "8"],
  ]);
  assert.equal(code, 0, output);
  const { results } = JSON.parse(output.slice(output.indexOf("{"))) as { results: BenchResult[] };
  const mixed = results.find(({ name }) => name === "16 streams, base and 8 adapters")!;
  assert.deepEqual([mixed.basePassesPerStep, mixed.rowsPerStep], [1, 16]);
  assert.deepEqual(
    mixed.stages.map(({ stage }) => stage),
    PROFILE_STAGES,
  );
  for (const { stage, gigabytesPerSecond, gigaflopsPerSecond } of mixed.stages) {
    const multiplies = !["embed", "sampling"].includes(stage);
    assert.ok(gigabytesPerSecond! > 0, stage);
    assert.equal(gigaflopsPerSecond !== null && gigaflopsPerSecond > 0, multiplies, stage);
  }
  const spent = mixed.stages.reduce((sum, { microseconds }) => sum + microseconds, 0);
  const share = spent / (1000 * mixed.stepMilliseconds);
  assert.ok(share > 0 && share <= 1, `stages take ${share} of a step`);
});
