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
const REQUESTS_PER_STREAM = 2;
const LEAST_REQUESTS = 8;
const REQUESTS_OF_A_MIX = 64; // enough to meet rare adapters too
const FIXED_MIX = 4;

/** One point of a series, and the load that measures it. */
interface Point {
  readonly series: string;
  readonly x: number;
  readonly load: Partial<ClientOptions>;
}

/** Tokens per second against the number of streams: on the base, on one adapter, on 16 of them. */
export async function sweepStreams(bench: Bench, adapters: readonly Adapter[]): Promise<Series[]> {
  const held = adapters.slice(0, MIXED_ADAPTERS);
  const names = held.map(({ name }) => name);
  const kinds = [
    { series: "base", loraModules: [] },
    { series: "one adapter", loraModules: names.slice(0, 1) },
    { series: `${held.length} adapters in turn`, loraModules: names },
  ];
  const points = kinds.flatMap(({ series, loraModules }) =>
    STREAM_COUNTS.map((streams) => ({
      series,
      x: streams,
      load: {
        loraModules,
        loraAssignment: "round-robin" as const,
        maxConcurrency: streams,
        numPrompts: Math.max(LEAST_REQUESTS, streams * REQUESTS_PER_STREAM),
      },
    })),
  );
  return seriesOf(await serving(bench, held, (baseUrl) => measure(bench, baseUrl, points)));
}

/**
 * Tokens per second of 16 streams against the number of adapters that a server has registered. A
 * Zipf(1) mix has the more adapters in a batch the more there are; a mix of a fixed number of them,
 * far apart, tells what registering alone costs.
 */
export async function sweepAdapters(bench: Bench, adapters: readonly Adapter[]): Promise<Series[]> {
  const measured: (readonly [Point, number])[] = [];
  for (const count of ADAPTER_COUNTS) {
    const held = adapters.slice(0, count);
    const load = { maxConcurrency: STREAMS, numPrompts: REQUESTS_OF_A_MIX };
    const zipf = {
      ...load,
      loraModules: held.map(({ name }) => name),
      loraAssignment: "zipf" as const,
    };
    const few = {
      ...load,
      loraModules: zipf.loraModules.filter((_, i) => i % (count / FIXED_MIX) === 0),
      loraAssignment: "round-robin" as const,
    };
    const points: Point[] = [
      { series: "base, beside them", x: count, load },
      { series: "Zipf(1) mix of them", x: count, load: zipf },
    ];
    if (count >= FIXED_MIX) points.push({ series: `${FIXED_MIX} of them`, x: count, load: few });
    measured.push(...(await serving(bench, held, (baseUrl) => measure(bench, baseUrl, points))));
  }
  return seriesOf(measured);
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

/** Goes through all points once a round, so that a machine that changes its pace favours none. */
async function measure(
  bench: Bench,
  baseUrl: string,
  points: readonly Point[],
): Promise<(readonly [Point, number])[]> {
  const best = new Map<Point, number>(points.map((point) => [point, 0]));
  for (let round = 0; round < bench.rounds; round++) {
    for (const point of points) {
      const options = {
        ...optionDefaults(CLIENT_OPTIONS),
        baseUrl,
        ignoreEos: true,
        ...point.load,
        numWarmups: round === 0 && point === points[0] ? STREAMS : 0,
        seed: 1000 * point.x + round, // prompts that the server has not seen
      };
      const { result, block } = await loadTest(options);
      if (result.failed > 0) throw new CommandError(`${point.series}, ${point.x}:\n${block}`);
      best.set(point, Math.max(best.get(point)!, result.output_throughput));
    }
  }
  for (const [{ series, x }, most] of best) {
    bench.report(`${series}, ${x}: ${most.toFixed(1)} tokens/s`);
  }
  return [...best];
}

function seriesOf(measured: readonly (readonly [Point, number])[]): Series[] {
  const names = new Set(measured.map(([{ series }]) => series));
  return [...names].map((name) => ({
    name,
    points: measured
      .filter(([{ series }]) => series === name)
      .map(([{ x }, value]): [number, number] => [x, value]),
  }));
}
