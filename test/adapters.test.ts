import assert from "node:assert/strict";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fakeContext } from "../src/engine/fake.js";
import { post, printed, serve as serveFake } from "./harness.js";
import {
  complete,
  golden,
  greedyTokens,
  postJson,
  refusal,
  serve,
  TINY,
} from "./support/command.js";

/** Adapters that come and go while the real engine serves. */

const PROMPT = golden.prompts[0]!;
const tokensOf = (variant: string) => golden.variants[variant]!.greedy_tokens[0];

interface Listed {
  readonly id: string;
  readonly state: string;
  readonly tier: string;
  readonly generation: number;
  readonly pinned: boolean;
  readonly running: number;
  readonly bytes: number;
  readonly resident_bytes: number;
  readonly hits: number;
  readonly misses: number;
}

function folderFor(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "smore-adapters-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function copyAdapter(variant: string, target: string): string {
  cpSync(join(TINY, "adapters", variant), target, { recursive: true });
  return target;
}

const load = (url: string, lora_name: string, lora_path: string, more: object = {}) =>
  postJson(`${url}/v1/load_lora_adapter`, { lora_name, lora_path, ...more });
const unload = (url: string, lora_name: string) =>
  postJson(`${url}/v1/unload_lora_adapter`, { lora_name });

async function listed(url: string, name: string): Promise<Listed | undefined> {
  const body = (await (await fetch(`${url}/v1/adapters`)).json()) as { data: Listed[] };
  return body.data.find(({ id }) => id === name);
}

async function eventually(holds: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `timed out: ${what}`);
    await setTimeout(50);
  }
}

const FP32 = ["--activations", "fp32"];

test("an adapter is loaded, used, listed, replaced and unloaded while the server runs", async (context) => {
  const root = folderFor(context);
  const { url } = await serve(context, [...FP32, "--adapter-root", root]);
  const path = copyAdapter("lora", join(root, "one"));
  assert.equal((await complete(url, { model: "mine", prompt: PROMPT })).status, 404);

  const answer = await load(url, "mine", path);
  assert.equal(answer.status, 200);
  const { adapter: summary, ...told } = (await answer.json()) as { adapter: object };
  const message = "Success: LoRA adapter 'mine' added successfully.";
  assert.deepEqual(told, { status: "success", message });
  assert.deepEqual(Object.keys(summary), ["id", "kind", "generation", "parameters", "bytes"]);
  assert.equal((await listed(url, "mine"))?.tier, "disk");
  assert.deepEqual(await greedyTokens(url, "mine", PROMPT), tokensOf("lora"));

  const before = (await listed(url, "mine"))!;
  assert.deepEqual([before.state, before.tier, before.pinned], ["ready", "host", false]);
  assert.ok(before.bytes > 0 && before.resident_bytes > 0 && before.hits + before.misses > 0);

  const other = copyAdapter("smore-switch", join(root, "two"));
  const taken = await refusal(await load(url, "mine", other));
  assert.deepEqual([taken.status, taken.code, taken.param], [400, "adapter_exists", "lora_name"]);
  assert.equal((await load(url, "mine", other, { load_inplace: true, pin: true })).status, 200);
  assert.deepEqual(await greedyTokens(url, "mine", PROMPT), tokensOf("smore-switch"));
  const after = (await listed(url, "mine"))!;
  assert.ok(after.generation > before.generation);
  assert.deepEqual([after.pinned, after.tier], [true, "host"]);

  assert.equal((await unload(url, "mine")).status, 200);
  assert.equal((await complete(url, { model: "mine", prompt: PROMPT })).status, 404);
  const gone = await refusal(await unload(url, "mine"));
  assert.deepEqual([gone.status, gone.code], [404, "adapter_not_found"]);
  assert.equal((await refusal(await unload(url, "tiny"))).status, 404);
});

test("what cannot be loaded is refused by name, and the server serves on", async (context) => {
  const root = folderFor(context);
  const elsewhere = folderFor(context);
  const { url } = await serve(context, ["--adapter-root", root]);
  const good = copyAdapter("lora", join(root, "good"));
  const outside = copyAdapter("lora", join(elsewhere, "outside"));
  symlinkSync(outside, join(root, "link"));
  const mixed = copyAdapter("lora", join(root, "mixed"));
  rmSync(join(mixed, "adapter_model.safetensors"));
  symlinkSync(join(outside, "adapter_model.safetensors"), join(mixed, "adapter_model.safetensors"));
  const telling = copyAdapter("lora", join(root, "telling"));
  writeFileSync(join(elsewhere, "notes.md"), "---\ntask: nobody's business\n---\n");
  symlinkSync(join(elsewhere, "notes.md"), join(telling, "README.md"));
  const broken = copyAdapter("lora", join(root, "nan"));
  const file = join(broken, "adapter_model.safetensors");
  const bytes = readFileSync(file);
  bytes.fill(0xff, bytes.length - 8);
  writeFileSync(file, bytes);

  for (const [name, path, status, code, param] of [
    ["a", outside, 403, "adapter_path_not_allowed", "lora_path"],
    ["a", join(root, "link"), 403, "adapter_path_not_allowed", "lora_path"],
    ["a", join(root, "..", "x"), 403, "adapter_path_not_allowed", "lora_path"],
    ["a", mixed, 403, "adapter_path_not_allowed", "lora_path"],
    ["a", telling, 403, "adapter_path_not_allowed", "lora_path"],
    ["a", root, 403, "adapter_path_not_allowed", "lora_path"],
    ["a", "/etc", 403, "adapter_path_not_allowed", "lora_path"],
    ["a", `${root}/none`, 404, "adapter_not_found", "lora_path"],
    ["a", `${root}/\0`, 400, "invalid_parameter", "lora_path"],
    ["a", broken, 400, "invalid_adapter", "lora_path"],
    ["tiny", good, 400, "adapter_exists", "lora_name"],
    ["a,b", good, 400, "invalid_parameter", "lora_name"],
    ["a/b", good, 400, "invalid_parameter", "lora_name"],
    ["..", good, 400, "invalid_parameter", "lora_name"],
    ["a\nb", good, 400, "invalid_parameter", "lora_name"],
    ["", good, 400, "invalid_parameter", "lora_name"],
  ] as const) {
    const { message, ...got } = await refusal(await load(url, name, path));
    assert.deepEqual(got, { status, code, param }, `${name} ${path}`);
    if (path === broken) assert.match(message, /tensor.*not a finite number|not a finite number/);
  }
  const noPath = await refusal(await postJson(`${url}/v1/load_lora_adapter`, { lora_name: "a" }));
  assert.deepEqual([noPath.status, noPath.param], [400, "lora_path"]);
  assert.equal((await load(url, "a", good)).status, 200);
});

test("without adapters at start no path may be loaded", async (context) => {
  const { url } = await serve(context, []);
  assert.equal((await load(url, "a", join(TINY, "adapters/lora"))).status, 403);
});

test("running requests keep the generation they began with", async (context) => {
  const root = folderFor(context);
  const { url } = await serve(context, [...FP32, "--adapter-root", root]);
  await load(url, "mine", copyAdapter("smore-noisy", join(root, "one")));
  const body = { model: "mine", prompt: PROMPT, max_tokens: 220, return_token_ids: true };
  const ids = async (response: Response) => {
    const { choices } = (await response.json()) as { choices: { token_ids: number[] }[] };
    return choices[0]?.token_ids;
  };
  const alone = await ids(await complete(url, body));
  const running = Array.from({ length: 12 }, () => complete(url, body));
  await setTimeout(20);
  const two = copyAdapter("lora", join(root, "two"));
  assert.equal((await load(url, "mine", two, { load_inplace: true })).status, 200);
  const started = await Promise.all(running.map(async (response) => ids(await response)));
  assert.deepEqual(new Set(started.map(String)), new Set([String(alone)]));
  assert.deepEqual(await greedyTokens(url, "mine", PROMPT), tokensOf("lora"));
});

test("the list tells how many generations go through an adapter now", async (context) => {
  const { url } = await serve(context, ["--adapter", `mine=${join(TINY, "adapters/lora")}`]);
  const body = { model: "mine", prompt: PROMPT, max_tokens: 220 };
  const answers = Promise.all(Array.from({ length: 12 }, () => complete(url, body)));
  let ended = false;
  void answers.then(() => {
    ended = true;
  });
  let most = 0;
  while (!ended) most = Math.max(most, (await listed(url, "mine"))!.running);
  assert.ok(most > 0 && most <= 12, `at most ${most} at a time`);
  await eventually(async () => (await listed(url, "mine"))!.running === 0, "nothing runs");
});

test("a followed folder serves what is dropped in, replaced and removed", async (context) => {
  const folder = folderFor(context);
  const staging = folderFor(context);
  const { url, output } = await serve(context, [...FP32, "--adapters-dir", folder]);
  const put = (variant: string, name: string) =>
    renameSync(copyAdapter(variant, join(staging, name)), join(folder, name));

  mkdirSync(join(folder, "half"));
  cpSync(join(TINY, "adapters/lora/adapter_config.json"), join(folder, "half/adapter_config.json"));
  mkdirSync(join(folder, "broken"));
  for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
    writeFileSync(join(folder, "broken", name), "{}");
  }
  put("lora", "mine");
  await eventually(async () => (await listed(url, "mine")) !== undefined, "it is served");
  assert.deepEqual(await greedyTokens(url, "mine", PROMPT), tokensOf("lora"));
  const { generation } = (await listed(url, "mine"))!;

  renameSync(join(folder, "mine"), join(staging, "old"));
  put("smore-switch", "mine");
  const isNew = async () => ((await listed(url, "mine"))?.generation ?? 0) > generation;
  await eventually(isNew, "the new one is served");
  assert.deepEqual(await greedyTokens(url, "mine", PROMPT), tokensOf("smore-switch"));

  rmSync(join(folder, "mine"), { recursive: true });
  await eventually(async () => (await listed(url, "mine")) === undefined, "it is gone");
  assert.equal((await complete(url, { model: "mine", prompt: PROMPT })).status, 404);
  assert.equal(await listed(url, "half"), undefined);
  await printed(output, /the folder \S*\/broken is not served: /);
});

test("a followed folder whose new content is damaged keeps what is served, and says so", async (context) => {
  const folder = folderFor(context);
  const staging = folderFor(context);
  copyAdapter("lora", join(folder, "mine"));
  const { url, output } = await serve(context, [...FP32, "--adapters-dir", folder]);
  const { generation } = (await listed(url, "mine"))!;
  const told = (line: RegExp) => eventually(async () => line.test(output()), `${line} in the log`);

  const damaged = copyAdapter("smore-switch", join(staging, "mine"));
  truncateSync(join(damaged, "adapter_model.safetensors"), 5000);
  renameSync(join(folder, "mine"), join(staging, "old"));
  renameSync(damaged, join(folder, "mine"));
  await told(/the new content of the folder \S*\/mine is not served, .* before still is: .*5000/);
  assert.deepEqual(await greedyTokens(url, "mine", PROMPT), tokensOf("lora"));
  assert.equal((await listed(url, "mine"))!.generation, generation);

  rmSync(join(folder, "mine", "adapter_model.safetensors"));
  await told(/the folder \S*\/mine is not served: its adapter_model\.safetensors is gone/);
  assert.equal(await listed(url, "mine"), undefined);
});

test("what looks like an adapter in a followed folder and cannot be used is told", async (context) => {
  const folder = folderFor(context);
  copyAdapter("lora", join(folder, "good"));
  copyAdapter("lora", join(folder, "na,me"));
  copyAdapter("lora", join(folder, "lost"));
  rmSync(join(folder, "lost", "adapter_model.safetensors"));
  symlinkSync("nothing", join(folder, "lost", "adapter_model.safetensors"));
  symlinkSync("loop", join(folder, "loop"));
  writeFileSync(join(folder, "read me.md"), "no adapter");
  const { url, output } = await serve(context, ["--adapters-dir", folder]);
  await setTimeout(1500); // a second look says nothing new
  const told = output().match(/the folder .* is not served: .*/g) ?? [];
  assert.equal(told.length, 3, told.join("\n"));
  assert.match(told[0]!, /\/loop is not served: ELOOP/);
  assert.match(told[1]!, /\/lost is not served: .*adapter_model\.safetensors is a link to nothing/);
  assert.match(told[2]!, /\/na,me is not served: the folder's name must not hold commas/);
  assert.equal((await complete(url, { model: "good", prompt: PROMPT, max_tokens: 1 })).status, 200);
});

test("weights in the format of older PEFT are told with how to convert them, wherever they come from", async (context) => {
  const folder = folderFor(context);
  const path = copyAdapter("lora", join(folder, "older"));
  renameSync(join(path, "adapter_model.safetensors"), join(path, "adapter_model.bin"));
  const { url, output } = await serve(context, ["--adapters-dir", folder]);
  const advice = /older\/adapter_model\.bin is the format of older PEFT.*python3 -c .*save_file\(/;
  await printed(output, advice);
  assert.equal(
    output()
      .split("\n")
      .filter((line) => advice.test(line)).length,
    1,
  );
  const { status, code, message } = await refusal(await load(url, "older", path));
  assert.deepEqual([status, code], [400, "invalid_adapter"]);
  assert.match(message, advice);
});

test("a name belongs to the folder that has it first, and the log tells of the other", async (context) => {
  const folder = folderFor(context);
  copyAdapter("smore-switch", join(folder, "mine"));
  const named = join(TINY, "adapters/lora");
  const options = [...FP32, "--adapter", `mine=${named}`, "--adapters-dir", folder];
  const { url, output } = await serve(context, options);
  assert.deepEqual(await greedyTokens(url, "mine", PROMPT), tokensOf("lora"));
  await printed(output, /the folder \S*\/mine is not served: the name belongs to .*lora already/);
  assert.doesNotMatch(output(), /adapter \\"mine\\" is not served/);
});

test("a request waits for an adapter that is being loaded, and is told to come back when it takes long", async (context) => {
  let finish = () => {};
  const ended = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const load = { name: "late", root: "/late", progress: 0.42, ended };
  let served = false;
  const { url } = await serveFake(context, {
    context: (generator) => {
      const fake = fakeContext(generator, { adapterWaitMs: 200 }, ["late"]);
      const { find } = fake.models;
      return {
        ...fake,
        models: { ...fake.models, find: (name) => (served ? find(name) : undefined) },
        adapters: {
          ...fake.adapters,
          loading: (name) => (name === "late" && !served ? load : undefined),
        },
      };
    },
  });
  const ask = () => post(`${url}/v1/completions`, { model: "late", prompt: "x" });
  const late = await ask();
  assert.equal(late.headers.get("retry-after"), "2");
  const { message, ...error } = await refusal(late);
  assert.deepEqual(error, { status: 503, code: "adapter_loading", param: "model" });
  assert.match(message, /42%/);
  const waiting = ask();
  await setTimeout(50);
  served = true;
  finish();
  assert.equal((await waiting).status, 200);
});

test("an adapter for which no memory comes free in time is a 503 with Retry-After", async (context) => {
  const adapters = ["--adapters-dir", join(TINY, "adapters"), "--max-loaded-adapters", "1"];
  const { url } = await serve(context, [...adapters, "--adapter-wait", "0"]);
  await setTimeout(100);
  const pin = { load_inplace: true, pin: true };
  assert.equal((await load(url, "lora", join(TINY, "adapters/lora"), pin)).status, 200);
  const response = await complete(url, { model: "smore-switch", prompt: PROMPT });
  assert.equal(response.headers.get("retry-after") === null, false);
  assert.equal((await refusal(response)).status, 503);
  const full = await refusal(
    await load(url, "second", join(TINY, "adapters/smore-noisy"), { pin: true }),
  );
  assert.deepEqual([full.status, full.code], [503, "adapter_memory_full"]);
  assert.equal(await listed(url, "second"), undefined);
  assert.equal((await unload(url, "lora")).status, 200);
});

test("metrics name resident adapters alone, safely, however many are registered", async (context) => {
  const root = folderFor(context);
  const { url } = await serve(context, ["--adapter-root", root, "--max-loaded-adapters", "2"]);
  const path = copyAdapter("lora", join(root, "one"));
  const odd = 'a"b{c}=é';
  assert.equal((await load(url, odd, path)).status, 200);
  await greedyTokens(url, odd, PROMPT);
  const metrics = async () => (await fetch(`${url}/metrics`)).text();
  const size = async () => (await metrics()).split("\n").length;
  assert.ok((await metrics()).includes('running_lora_adapters="a\\"b{c}=é"'));
  const before = await size();
  for (let index = 0; index < 30; index++) await load(url, `unused-${index}`, path);
  assert.equal(await size(), before);
  const series = (await metrics()).match(/^vllm:lora_requests_info\{/gm);
  assert.equal(series?.length, 1);
});
