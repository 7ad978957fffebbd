import { CommandError } from "../../src/cli/command.js";
import { loadTest } from "../client/command.js";
import { CLIENT_OPTIONS, type ClientOptions } from "../client/options.js";
import { optionDefaults } from "../options.js";
import { SMORE, withServer } from "../processes.js";
import type { Series } from "../report/plot.js";

export interface Adapter {
  readonly name: string;
  readonly path: string;
}

/** What stays the same in a sweep. */
export interface Bench {
  readonly model: string;
  readonly threads: number;
  readonly rounds: number; // of which the best counts
  readonly serveArgs: readonly string[];
  readonly report: (line: string) => void;
}

const STREAM_COUNTS = [1, 2, 4, 8, 16, 32, 64];
const ADAPTER_COUNTS = [1, 4, 16, 64, 256];
export const MOST_ADAPTERS = ADAPTER_COUNTS.at(-1)!;
const MIXED_ADAPTERS = 16;
const STREAMS = 16;
const REQUESTS_PER_STREAM = 4;
const LEAST_REQUESTS = 8;
const REQUESTS_OF_A_MIX = 128; // enough to meet the rare adapters too

/** Tokens per second against the number of streams: on the base, on one adapter, on 16 of them. */
export async function sweepStreams(bench: Bench, adapters: readonly Adapter[]): Promise<Series[]> {
  const held = adapters.slice(0, MIXED_ADAPTERS);
  const names = held.map(({ name }) => name);
  return serving(bench, held, async (baseUrl) => {
    const kinds = [
      { name: "base", modules: [] },
      { name: "one adapter", modules: names.slice(0, 1) },
      { name: `${held.length} adapters in turn`, modules: names },
    ];
    const series: Series[] = [];
    for (const { name, modules } of kinds) {
      const points: [number, number][] = [];
      for (const streams of STREAM_COUNTS) {
        const options = {
          baseUrl,
          loraModules: modules,
          loraAssignment: "round-robin",
          maxConcurrency: streams,
          numPrompts: Math.max(LEAST_REQUESTS, streams * REQUESTS_PER_STREAM),
        } as const;
        points.push([streams, await best(bench, `${name}, ${streams} streams`, options)]);
      }
      series.push({ name, points });
    }
    return series;
  });
}

/** Tokens per second of 16 streams against the number of adapters that a server has registered. */
export async function sweepAdapters(bench: Bench, adapters: readonly Adapter[]): Promise<Series[]> {
  const base: [number, number][] = [];
  const mix: [number, number][] = [];
  for (const count of ADAPTER_COUNTS) {
    const held = adapters.slice(0, count);
    await serving(bench, held, async (baseUrl) => {
      const options = { baseUrl, maxConcurrency: STREAMS, numPrompts: REQUESTS_OF_A_MIX };
      const zipf = {
        ...options,
        loraModules: held.map(({ name }) => name),
        loraAssignment: "zipf",
      } as const;
      base.push([count, await best(bench, `base, ${count} registered`, options)]);
      mix.push([count, await best(bench, `Zipf(1) mix, ${count} registered`, zipf)]);
    });
  }
  return [
    { name: "base, beside them", points: base },
    { name: "Zipf(1) mix of them", points: mix },
  ];
}

function serving<Value>(
  { model, threads, serveArgs }: Bench,
  adapters: readonly Adapter[],
  use: (url: string) => Promise<Value>,
): Promise<Value> {
  const most = String(STREAM_COUNTS.at(-1));
  return withServer(
    SMORE,
    [
      ...["serve", "--model", model, "--threads", String(threads), "--log-level", "error"],
      ...["--max-batch", most, ...serveArgs],
      ...adapters.flatMap(({ name, path }) => ["--adapter", `${name}=${path}`]),
    ],
    use,
  );
}

async function best(bench: Bench, what: string, changes: Partial<ClientOptions>): Promise<number> {
  const options = {
    ...optionDefaults(CLIENT_OPTIONS),
    ignoreEos: true,
    numWarmups: STREAMS,
    ...changes,
  };
  let most = 0;
  for (let round = 0; round < bench.rounds; round++) {
    const seed = 1000 * options.maxConcurrency + round; // prompts that the server has not seen
    const { result, block } = await loadTest({ ...options, seed });
    if (result.failed > 0) throw new CommandError(`${what}:\n${block}`);
    most = Math.max(most, result.output_throughput);
  }
  bench.report(`${what}: ${most.toFixed(1)} tokens/s`);
  return most;
}
