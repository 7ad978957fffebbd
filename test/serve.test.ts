import assert from "node:assert/strict";
import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { until } from "./harness.js";
import {
  complete,
  exitOf,
  golden,
  greedyTokens,
  greedyTokensOfAll,
  SMALL,
  serve,
  start,
  TINY,
} from "./support/command.js";

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

test("32 streams over 8 adapters with room for 3 take turns and give the same tokens", async (context) => {
  const folders = ["lora", "smore-noisy", "smore-switch"] as const;
  const adapters = Array.from({ length: 8 }, (_, index) => folders[index % folders.length]!);
  const { url } = await serve(context, [
    ...["--activations", "fp32", "--max-loaded-adapters", "3"],
    ...adapters.flatMap((folder, index) => [
      "--adapter",
      `a${index}=${join(TINY, "adapters", folder)}`,
    ]),
  ]);
  const got = await Promise.all(
    Array.from({ length: 32 }, (_, job) => greedyTokens(url, `a${job % 8}`, golden.prompts[0]!)),
  );
  assert.deepEqual(
    got,
    got.map((_, job) => golden.variants[adapters[job % 8]!]!.greedy_tokens[0]),
  );
});

test("an adapter larger than its memory is served page by page with the same tokens", async (context) => {
  const { url } = await serve(context, [...ADAPTERS, "--adapter-memory", "150KiB"]);
  const got = await greedyTokens(url, "smore-switch", golden.prompts[0]!);
  assert.deepEqual(got, golden.variants["smore-switch"]!.greedy_tokens[0]);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const evictions = /^smore_expert_evictions_total\{tier="host"\} (\S+)$/m.exec(metrics)?.[1];
  assert.ok(Number(evictions) > 0, "pages leave for others");
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
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const preemptions = /^vllm:num_preemptions_total\{.*\} (\S+)$/m.exec(metrics)?.[1];
  assert.ok(Number(preemptions) > 0);
});

test("an adapter in a folder that cannot be loaded costs itself alone", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "smore-broken-"));
  context.after(() => rmSync(folder, { recursive: true }));
  cpSync(join(TINY, "adapters", "lora"), join(folder, "broken"), { recursive: true });
  writeFileSync(join(folder, "broken", "adapter_config.json"), "{");
  const { url, output } = await serve(context, ["--adapters-dir", folder]);
  assert.match(output(), /adapter \\"broken\\" is not served: .*adapter_config\.json/);
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
  assert.match(output(), /no adapters in .*smore-empty-/);
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

test("verify prints a line per golden file and the sum last", async () => {
  const folder = fileURLToPath(new URL("../../test/fixtures/smore", import.meta.url));
  const { code, output } = await exitOf(["verify", folder, "--backend", "all"]);
  const lines = output.trimEnd().split("\n");
  assert.match(lines.at(-1)!, /^[0-9]+ passed, 0 failed$/);
  assert.equal(code, 0);
});

test("bench shows one pass over the base weights per step, whatever the adapters", async () => {
  const { code, output } = await exitOf([
    ...["bench", "--model", join(TINY, "model"), ...SMALL, "--repeat", "1", "--json"],
    ...["--adapter", join(TINY, "adapters", "smore-switch"), "--copies", "8"],
    ...["--prompt", "32", "--tokens", "8"],
  ]);
  assert.equal(code, 0, output);
  const { results } = JSON.parse(output.slice(output.indexOf("{"))) as {
    results: { name: string; basePassesPerStep: number; rowsPerStep: number }[];
  };
  const mixed = results.find(({ name }) => name === "16 streams, base and 8 adapters")!;
  assert.deepEqual([mixed.basePassesPerStep, mixed.rowsPerStep], [1, 16]);
});
