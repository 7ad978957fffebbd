import { availableParallelism, cpus } from "node:os";
import { checkBatch, checkDevice, ENGINE_OPTIONS } from "../config.js";
import type { NativeAdapterInfo, NativeEngine, Peaks } from "../engine/native.js";
import { resolveModel } from "../models/resolve.js";
import { adapterCosts, costTable } from "./bench-adapters.js";
import { type BenchResult, EngineBench, type Workload } from "./bench-run.js";
import { peaksLine, stageTable } from "./bench-stages.js";
import type { Command } from "./command.js";
import { loadEngine, native } from "./engine.js";
import { integer, list, optionHelp, parseOptions, toggle, UsageError } from "./options.js";

const OPTIONS = {
  ...ENGINE_OPTIONS,
  adapter: list({ placeholder: "PATH", help: "adapter folder to measure with; repeatable" }),
  copies: integer({
    initial: null,
    min: 1,
    max: 1024,
    shown: "1",
    help: "register every adapter so many times, as different adapters",
  }),
  prompt: integer({ initial: 512, min: 1, max: 1 << 20, help: "tokens of the measured prompt" }),
  tokens: integer({ initial: 64, min: 1, max: 1 << 16, help: "tokens that each stream generates" }),
  repeat: integer({ initial: 3, min: 1, max: 100, help: "runs of which the best counts" }),
  stages: toggle("print what each stage of a step took, beside the machine's peaks"),
  json: toggle("print JSON instead of a table"),
} as const;

const USAGE = `Usage: smore bench [OPTIONS]

Measures the engine alone: prompts, and streams in batches of 1, 4, 16 and 32, on the base, on the
adapters and mixed.

${optionHelp(OPTIONS)}

Example: smore bench --model model.gguf --threads 2 --adapter ./my-adapter --copies 8 --json`;

const BATCHES = [1, 4, 16, 32];
const MIXED_BATCH = 16;

export const command: Command = {
  options: OPTIONS,
  operands: "none",
  usage: USAGE,
  async run(args, terminal) {
    const { values, operands, help, source } = parseOptions(OPTIONS, args, terminal.environment);
    if (help) {
      terminal.print(USAGE);
      return 0;
    }
    if (operands[0] !== undefined) throw new UsageError(`unexpected argument "${operands[0]}"`);
    if (values.copies !== null && values.adapter.length === 0) {
      throw new UsageError(`${source("copies")} needs an adapter to register: --adapter PATH`);
    }
    checkBatch(values);
    checkDevice(values, source);
    const { path, name } = await resolveModel(values.model);
    const peaks = await native().measurePeaks(values.kernelPath ?? "", values.threads);
    const engine = await loadEngine(values, path, () => {}, true);
    const longest = Math.max(values.prompt + 1, 16 + values.tokens);
    if (longest > engine.info.maxModelLen) {
      const most = engine.info.maxModelLen;
      throw new UsageError(`--prompt and --tokens must fit the model's ${most} positions`);
    }
    const adapters = await registerAdapters(engine, values.adapter, values.copies ?? 1);
    const bench = new EngineBench(engine, adapters);
    const handles = [...adapters.keys()];
    const workloads = workloadsOf(handles, values.prompt, values.tokens, values.maxBatch);
    await bench.run({ name: "warm-up", adapters: [0], prompt: 16, tokens: 8 });
    if (!values.json) terminal.print(`${peaksLine(peaks)}\n${header(name, engine)}`);
    const results = await bestOf(bench, workloads, values.repeat);
    const costs = adapterCosts(results, peaks);
    if (values.json) {
      const { adapterDtype } = values;
      const figures = {
        ...report(name, engine, peaks),
        adapterDtype,
        results,
        adapterCosts: costs,
      };
      terminal.print(JSON.stringify(figures, null, 2));
    } else {
      for (const result of results) {
        terminal.print(row(result));
        if (values.stages) terminal.print(stageTable(result.stages, peaks));
      }
      if (costs.length > 0) terminal.print(`\n${costTable(costs)}`);
    }
    await engine.close();
    return 0;
  },
};

/** By their handles. */
async function registerAdapters(
  engine: NativeEngine,
  folders: readonly string[],
  copies: number,
): Promise<Map<number, NativeAdapterInfo>> {
  const adapters = new Map<number, NativeAdapterInfo>();
  for (let copy = 0; copy < copies; copy++) {
    for (const folder of folders) {
      const info = await engine.loadAdapter(folder);
      adapters.set(info.handle, info);
    }
  }
  return adapters;
}

function workloadsOf(
  adapters: readonly number[],
  prompt: number,
  tokens: number,
  maxBatch: number,
): Workload[] {
  const batches = BATCHES.filter((batch) => batch <= maxBatch);
  const cycle = (pool: readonly number[], batch: number) =>
    Array.from({ length: batch }, (_, index) => pool[index % pool.length]!);
  const workloads: Workload[] = [
    { name: `prompt ${prompt}, base`, adapters: [0], prompt, tokens: 0 },
    ...batches.map((batch) => ({
      name: `${streams(batch)}, base`,
      adapters: cycle([0], batch),
      prompt: null,
      tokens,
    })),
  ];
  const [first] = adapters;
  if (first === undefined) return workloads;
  workloads.push({ name: `prompt ${prompt}, adapter`, adapters: [first], prompt, tokens: 0 });
  for (const batch of batches) {
    const distinct = new Set([1, Math.min(batch, adapters.length)]);
    for (const count of distinct) {
      const name = `${streams(batch)}, ${adapterCount(count)}`;
      workloads.push({
        name,
        adapters: cycle(adapters.slice(0, count), batch),
        prompt: null,
        tokens,
      });
    }
  }
  const mixed = Math.min(MIXED_BATCH, maxBatch);
  const pool = [0, ...adapters.slice(0, mixed - 1)];
  const name = `${streams(mixed)}, base and ${adapterCount(pool.length - 1)}`;
  workloads.push({ name, adapters: cycle(pool, mixed), prompt: null, tokens });
  return workloads;
}

function streams(count: number): string {
  return count === 1 ? "1 stream" : `${count} streams`;
}

function adapterCount(count: number): string {
  return count === 1 ? "1 adapter" : `${count} adapters`;
}

/** Goes through all workloads each time, so that a machine that changes its pace favours none. */
async function bestOf(
  bench: EngineBench,
  workloads: readonly Workload[],
  repeat: number,
): Promise<BenchResult[]> {
  const best = new Map<Workload, BenchResult>();
  for (let run = 0; run < repeat; run++) {
    for (const workload of workloads) {
      const result = await bench.run(workload);
      const before = best.get(workload);
      if (before === undefined || result.tokensPerSecond > before.tokensPerSecond) {
        best.set(workload, result);
      }
    }
  }
  return [...best.values()];
}

function header(name: string, { info }: NativeEngine): string {
  const megabytes = (info.weightBytes / 1e6).toFixed(0);
  return `${name}: ${megabytes} MB of weights, ${info.kernelPath}, ${info.threads} threads
${"".padEnd(36)}${["tokens/s", "ms/step", "between", "GB/s", "rows/step", "passes/step"].map(cell).join("")}`;
}

function row(result: BenchResult): string {
  const figures = [
    result.tokensPerSecond.toFixed(1),
    result.stepMilliseconds.toFixed(2),
    `${(100 * result.betweenSteps).toFixed(1)} %`,
    result.weightGigabytesPerSecond.toFixed(2),
    result.rowsPerStep.toFixed(2),
    result.basePassesPerStep.toFixed(2),
  ];
  return `${result.name.padEnd(36)}${figures.map(cell).join("")}`;
}

function cell(text: string): string {
  return text.padStart(12);
}

function report(model: string, { info }: NativeEngine, peaks: Peaks) {
  return {
    model,
    kernelPath: info.kernelPath,
    threads: info.threads,
    weightBytes: info.weightBytes,
    machine: { cpu: cpus()[0]?.model ?? "unknown", cpus: availableParallelism(), peaks },
  };
}
