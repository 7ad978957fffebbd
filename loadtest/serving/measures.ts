import { setTimeout } from "node:timers/promises";
import { loadTest } from "../client/command.js";
import { firstTokenTime } from "../client/measure.js";
import { CLIENT_OPTIONS } from "../client/options.js";
import { percentile } from "../client/statistics.js";
import { optionDefaults } from "../options.js";
import type { Session } from "./session.js";

export const STREAMS = 16;
export const STREAM_TOKENS = 256; // long, so that the prompts' time is little
const STREAM_WORDS = 12;

/** Gaps between tokens of running streams, in ms, while a long prompt arrives and after it. */
export interface Stall {
  readonly p50: number; // after it
  readonly p50During: number;
  readonly p99During: number;
  readonly promptMs: number; // to the long prompt's first token
  readonly ratio: number; // p99During / p50
}

const RUNNING = { words: 48, tokens: 600, count: 8 };
const LONG = { words: 2000, tokens: 1, count: 1 };
const SETTLE_MS = 500;

export async function measureStall(session: Session, seed: number): Promise<Stall> {
  const requests = await session.requests({ ...RUNNING, seed });
  const [long] = await session.requests({ ...LONG, seed: seed + 1 });
  const running = Promise.all(requests.map((each) => session.send(each)));
  await setTimeout(SETTLE_MS);
  const arrival = await session.send(long!);
  const [from, to] = [arrival.start, arrival.times[0]!];
  const during: number[] = [];
  const after: number[] = [];
  for (const { times } of await running) {
    for (const [index, end] of times.slice(1).entries()) {
      const begin = times[index]!;
      if (begin >= to) after.push(end - begin);
      else if (end > from) during.push(end - begin);
    }
  }
  const [p50, p50During, p99During] = [rank(after, 50), rank(during, 50), rank(during, 99)];
  return { p50, p50During, p99During, promptMs: firstTokenTime(arrival), ratio: p99During / p50 };
}

/** What a prompt costs again whose beginning the server has seen, in ms to the first token. */
export interface Reuse {
  readonly first: number;
  readonly again: number; // median of some with ends of their own
  readonly share: number;
}

const SHARED = { words: 8, prefixWords: 1000, tokens: 1, count: 6 };

export async function measureReuse(session: Session, seed: number): Promise<Reuse> {
  const times: number[] = [];
  for (const request of await session.requests({ ...SHARED, seed })) {
    times.push(firstTokenTime(await session.send(request)));
  }
  const [first, ...others] = times as [number, ...number[]];
  const again = rank(others, 50);
  return { first, again, share: again / first };
}

/** What the event loop's thread computed, over the time of the engine's steps. */
export interface LoopShares {
  readonly plan: number;
  readonly emit: number; // commit, tokens to text, and writing it
  readonly all: number;
  readonly held: number; // of all, with what they waited for a core
}

/** Streams of the base for a while. */
export interface Throughput {
  readonly tokensPerSecond: number;
  readonly loop: LoopShares;
  readonly betweenSteps: number; // share of the time in which no step ran, from the first request on
}

const COMPUTED = "smore_event_loop_hold_cpu_seconds_sum";

export async function measureThroughput(session: Session, seed: number): Promise<Throughput> {
  const before = await session.metrics();
  const { result } = await loadTest({
    ...optionDefaults(CLIENT_OPTIONS),
    baseUrl: session.url,
    model: await session.model(),
    maxConcurrency: STREAMS,
    numPrompts: STREAMS,
    randomInputLen: STREAM_WORDS,
    randomOutputLen: STREAM_TOKENS,
    ignoreEos: true,
    seed,
  });
  const after = await session.metrics();
  const spent = (name: string) => after(name) - before(name);
  const stepSeconds = spent("smore_engine_seconds_total");
  return {
    tokensPerSecond: result.output_throughput,
    loop: {
      plan: spent(`${COMPUTED}{callback="plan"}`) / stepSeconds,
      emit: spent(`${COMPUTED}{callback="emit"}`) / stepSeconds,
      all: spent(COMPUTED) / stepSeconds,
      held: spent("smore_event_loop_hold_seconds_sum") / stepSeconds,
    },
    betweenSteps: 1 - stepSeconds / result.duration,
  };
}

function rank(values: readonly number[], of: number): number {
  return values.length === 0 ? Number.NaN : percentile(Float64Array.from(values).sort(), of);
}
