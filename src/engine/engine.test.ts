import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { nativeModule } from "./engine.js";
import { fill, type Piece } from "./hand-filled-step.js";
import { type NativeConfig, type NativeEngine, STATS, type StepArrays } from "./native.js";
import { allocateStepArrays } from "./step-batch.js";

const FIXTURES = fileURLToPath(new URL("../../../test/fixtures/", import.meta.url));
const TIED = join(FIXTURES, "tiny-llama-smore/tied");
const MIB = 2 ** 20;

interface Golden {
  readonly prompts: readonly (readonly number[])[];
  readonly variants: Record<string, { readonly greedy_tokens: readonly (readonly number[])[] }>;
}
const golden: Golden = JSON.parse(readFileSync(join(TIED, "index.json"), "utf8"));

function config(over: Partial<NativeConfig> = {}): NativeConfig {
  return {
    modelPath: join(TIED, "model"),
    device: "cpu",
    threads: 2,
    maxModelLen: 128,
    maxBatch: 8,
    maxBatchTokens: 128,
    kvMemory: 16 * MIB,
    adapterMemory: 16 * MIB,
    gpuAdapterMemory: 16 * MIB,
    gpuProducts: "invariant",
    cublaslt: "",
    maxLoadedAdapters: 8,
    activations: "fp32",
    adapterDtype: "stored",
    quantize: "none",
    profile: false,
    kernelPath: "",
    ...over,
  };
}

const load = (over: Partial<NativeConfig> = {}) =>
  nativeModule().loadEngine(config(over), () => {});

interface Job {
  readonly prompt: readonly number[];
  readonly adapter: number;
}

/** Greedy tokens of all jobs in one batch, every step queued before the one ahead of it is done. */
async function generate(engine: NativeEngine, jobs: readonly Job[], count: number) {
  const batches = [0, 1].map(() => {
    const arrays = allocateStepArrays(engine.info.limits);
    return { arrays, number: engine.createBatch(arrays) };
  });
  const tokens: number[][] = jobs.map(() => []);
  let previous: { arrays: StepArrays; done: Promise<number> } | undefined;
  const collect = async () => {
    await previous?.done;
    for (const list of tokens) {
      const at = tokens.indexOf(list);
      if (previous) {
        assert.equal(previous.arrays.status[at], 0);
        list.push(previous.arrays.sampled[at] ?? -1);
      }
    }
  };
  for (let k = 0; k < count; k++) {
    const batch = batches[k % 2];
    assert.ok(batch);
    const pieces = jobs.map(({ prompt, adapter }, i) => ({
      slot: i,
      tokens: k === 0 ? prompt : ("from slot" as const),
      context: k === 0 ? 0 : prompt.length + k - 1,
      firstPage: i * 8,
      adapter,
      sample: true,
    }));
    fill(batch.arrays, pieces);
    const done = engine.step(batch.number);
    await collect();
    previous = { arrays: batch.arrays, done };
  }
  await collect();
  return tokens;
}

async function statsOf(engine: NativeEngine) {
  const values = new Float64Array(STATS.length);
  engine.stats(values);
  return Object.fromEntries(STATS.map((name, i) => [name, values[i]]));
}

const rejects = (promise: Promise<unknown>, code: string, message: RegExp) =>
  assert.rejects(promise, (error: Error & { code?: string }) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    assert.ok(!error.message.includes("\n"), "one line");
    return true;
  });

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "smore-engine-"));
});
after(() => rmSync(folder, { recursive: true }));

test("a loaded engine tells what it is, and its progress ends at the whole file", async () => {
  const progress: [number, number][] = [];
  const engine = await nativeModule().loadEngine(config(), (done, total) =>
    progress.push([done, total]),
  );
  const { info } = engine;
  assert.equal(info.family, "llama");
  assert.equal(info.vocab, 320);
  assert.equal(info.maxModelLen, 128);
  assert.deepEqual(info.limits.sequences, 8);
  assert.equal(info.slots, 16);
  assert.ok(info.kvPages * info.pageBytes <= 16 * MIB);
  assert.ok(Object.isFrozen(info));
  assert.ok(nativeModule().cpuPaths().length > 0);
  const [done, total] = progress.at(-1) ?? [0, 1];
  assert.ok(done <= total && done > 0.9 * total, `${done} of ${total}`);
  await engine.close();
});

test("greedy tokens equal the reference, two prompts in one batch, steps queued ahead", async () => {
  const engine = await load();
  const jobs = golden.prompts.map((prompt) => ({ prompt, adapter: 0 }));
  const tokens = await generate(engine, jobs, 32);
  assert.deepEqual(tokens, golden.variants.base?.greedy_tokens);
  const stats = await statsOf(engine);
  assert.equal(stats.steps, 32);
  assert.equal(stats.basePasses, 32);
  assert.equal(stats.sampledRows, 64);
  assert.ok((stats.stepSeconds ?? 0) > 0);
  await engine.close();
});

test("several adapters and the base in one batch each say what the reference says", async () => {
  const engine = await load();
  const jobs: Job[] = [];
  const want: (readonly number[])[] = [];
  for (const [name, variant] of Object.entries(golden.variants)) {
    let adapter = 0;
    if (name !== "base") {
      const loaded = await engine.loadAdapter(join(TIED, "adapters", name));
      assert.equal(loaded.kind, name === "lora" ? "lora" : "smore");
      assert.equal(await engine.acquireAdapter(loaded.handle), true);
      adapter = loaded.handle;
    }
    for (const [i, prompt] of golden.prompts.entries()) {
      jobs.push({ prompt, adapter });
      want.push(variant.greedy_tokens[i] ?? []);
    }
  }
  assert.deepEqual(await generate(engine, jobs, 32), want);
  for (const adapter of new Set(jobs.map((job) => job.adapter))) {
    if (adapter === 0) continue;
    assert.ok(engine.routing(adapter).flat().length > 0);
    engine.releaseAdapter(adapter);
    assert.throws(() => engine.releaseAdapter(adapter), /is not acquired/);
    engine.unloadAdapter(adapter);
  }
  await rejects(engine.acquireAdapter(1), "invalid_argument", /1/);
  await rejects(engine.loadAdapter(join(TIED, "model")), "invalid_adapter", /adapter_config/);
  await engine.close();
});

test("a model that cannot be served is refused with the code of its fault", async () => {
  const write = (name: string, bytes: Uint8Array | string) => {
    writeFileSync(join(folder, name), bytes);
    return join(folder, name);
  };
  await rejects(load({ modelPath: join(folder, "absent") }), "io", /absent/);
  const truncated = write("bad.gguf", Uint8Array.of(0x47, 0x47, 0x55, 0x46, 3, 0, 0, 0, 9));
  await rejects(load({ modelPath: truncated }), "invalid_file", /bad\.gguf/);
  await rejects(load({ maxModelLen: 1 << 20 }), "invalid_argument", /maxModelLen/);
  await rejects(load({ kvMemory: 1024 }), "out_of_memory", /one sequence of 128 needs/);
  await rejects(load({ kvMemory: 2 ** 50 }), "out_of_memory", /does not fit in memory/);
  await rejects(load({ kernelPath: "abacus" }), "invalid_argument", /abacus/);
  await rejects(load({ device: "tpu" }), "invalid_argument", /cpu, auto or cuda:0/);
  await rejects(load({ device: "cuda:99" }), "device", /cuda:99/);
});

test("a step that contradicts itself is refused by name, and the next one runs", async () => {
  const engine = await load();
  const arrays = allocateStepArrays(engine.info.limits);
  const batch = engine.createBatch(arrays);
  const piece: Piece = { slot: 0, tokens: [1, 2, 3], context: 0, firstPage: 0, sample: true };
  const refuses = async (change: Partial<Piece>, message: RegExp) => {
    fill(arrays, [{ ...piece, ...change }]);
    await rejects(engine.step(batch), "invalid_argument", message);
  };
  await refuses({ tokens: [1, 320] }, /tokens\[1\] is 320, not in 0\.\.319/);
  await refuses({ firstPage: engine.info.kvPages }, /blocks\[0\]/);
  await refuses({ slot: engine.info.slots }, /slot\[0\]/);
  await refuses({ context: 126 }, /context\[0\]/);
  await refuses({ adapter: 7 }, /adapter/);
  await refuses({ tokens: "from slot", context: 3, slot: 5 }, /slot 5 .* no sampled token/);
  await rejects(engine.step(9), "invalid_argument", /no batch 9/);
  fill(arrays, [piece]);
  await engine.step(batch);
  assert.equal(arrays.status[0], 0);
  await engine.close();
});

test("a batch whose arrays do not fit is refused by the array's name", async () => {
  const engine = await load();
  const arrays = allocateStepArrays(engine.info.limits);
  assert.throws(() => engine.createBatch({ ...arrays, tokens: new Int32Array(1) }), /tokens has 1/);
  assert.throws(
    () => engine.createBatch({ ...arrays, topP: new Int32Array(8) as never }),
    /topP has another element type/,
  );
  await engine.close();
});

test("closing waits for the step in flight, and afterwards everything says closed", async () => {
  const engine = await load();
  const arrays = allocateStepArrays(engine.info.limits);
  const batch = engine.createBatch(arrays);
  fill(arrays, [{ slot: 0, tokens: [1, 2, 3], context: 0, firstPage: 0, sample: true }]);
  const step = engine.step(batch);
  const closes = [engine.close(), engine.close()];
  await step;
  await Promise.all(closes);
  await engine.close();
  await rejects(engine.step(batch), "invalid_argument", /closed/);
  assert.throws(() => engine.stats(new Float64Array(STATS.length)), /closed/);
});

test("a single-layer golden file is verified, and a folder inspected, without an engine", async () => {
  const file = join(FIXTURES, "smore/01-switch-mlp-prelu-child-L2-shared.safetensors");
  for (const path of nativeModule().cpuPaths()) {
    const result = await nativeModule().verifyLayer(file, path, "fp32");
    assert.equal(result.passed, true, result.detail);
  }
  await rejects(nativeModule().verifyLayer(file, "abacus", "fp32"), "invalid_argument", /abacus/);
  const described = JSON.parse(await nativeModule().inspect(join(TIED, "model")));
  assert.equal(described.kind, "model");
});

test("a process may end while an engine loads, idles or computes", () => {
  const module = new URL("./engine.js", import.meta.url).href;
  const lines = [
    `import { nativeModule } from ${JSON.stringify(module)};`,
    `const config = ${JSON.stringify(config())};`,
    "const load = () => nativeModule().loadEngine(config, () => {});",
  ];
  const run = (script: string) => {
    const source = [...lines, script].join("\n");
    return spawnSync(process.execPath, ["--input-type=module", "-e", source], { timeout: 60_000 });
  };
  for (const script of [
    "load(); process.exit(0);",
    "await load();", // an idle engine does not keep the process
    "await load(); process.exit(0);",
    "const e = await load(); e.close();",
    "const e = await load(); e.close(); process.exit(0);",
  ]) {
    const { status, signal, stderr } = run(script);
    assert.deepEqual({ script, status, signal }, { script, status: 0, signal: null }, `${stderr}`);
  }
});

test("a worker thread may be terminated while its engine loads, computes or loads an adapter", async () => {
  const source = `
    const load = async () => {
      const { nativeModule } = await import(${JSON.stringify(new URL("./engine.js", import.meta.url).href)});
      const { allocateStepArrays } = await import(${JSON.stringify(new URL("./step-batch.js", import.meta.url).href)});
      for (;;) {
        const engine = await nativeModule().loadEngine(${JSON.stringify(config())}, () => {});
        const arrays = allocateStepArrays(engine.info.limits);
        const batch = engine.createBatch(arrays);
        const adapter = engine.loadAdapter(${JSON.stringify(join(TIED, "adapters/lora"))});
        arrays.counts.set([1, 1]);
        arrays.rowStart[1] = arrays.blockStart[1] = 1;
        for (let i = 0; i < 20; i++) await engine.step(batch);
        await adapter;
      }
    };
    load();`;
  for (let i = 0; i < 10; i++) {
    const worker = new Worker(source, { eval: true });
    await new Promise((resolve) => setTimeout(resolve, 20 + 10 * i));
    await worker.terminate();
  }
});
