import type { Run } from "./run.js";
import type { Goodput, Metric, Settings } from "./settings.js";
import { type Summary, summarize } from "./statistics.js";
import type { Outcome } from "./stream.js";

/** The figures of a run, with the definitions of vLLM's client. */
export interface Measures {
  readonly completed: readonly Outcome[];
  readonly failed: readonly Outcome[];
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly goodRequests: number;
  readonly peakTokensPerSecond: number; // of whole seconds of the clock
  readonly peakConcurrency: number;
  readonly summaries: ReadonlyMap<Metric, Summary>; // ms
}

/** Milliseconds from sending to the first event. */
export function firstTokenTime({ start, times }: Outcome): number {
  return times[0]! - start;
}

/** Milliseconds from sending to the last event. */
export function endToEnd({ start, times }: Outcome): number {
  return times.at(-1)! - start;
}

/** Mean milliseconds per token after the first; 0 where there is only one. */
export function perOutputToken(outcome: Outcome): number {
  const { outputTokens } = outcome;
  if (outputTokens <= 1) return 0;
  return (endToEnd(outcome) - firstTokenTime(outcome)) / (outputTokens - 1);
}

/** Milliseconds between events that follow each other. */
export function interToken({ times }: Outcome): number[] {
  return times.slice(1).map((time, index) => time - times[index]!);
}

export function measure({ outcomes }: Run, { goodput, ranks }: Settings): Measures {
  const completed = outcomes.filter(({ error }) => error === null);
  const sum = (count: (outcome: Outcome) => number) =>
    completed.reduce((total, outcome) => total + count(outcome), 0);
  const values: Record<Metric, number[]> = {
    ttft: completed.map(firstTokenTime),
    tpot: completed.filter(({ outputTokens }) => outputTokens > 1).map(perOutputToken),
    itl: completed.flatMap(interToken),
    e2el: completed.map(endToEnd),
  };
  const summaries = Object.entries(values).map(
    ([metric, each]) => [metric as Metric, summarize(each, ranks)] as const,
  );
  return {
    completed,
    failed: outcomes.filter(({ error }) => error !== null),
    inputTokens: sum(({ promptTokens }) => promptTokens),
    outputTokens: sum(({ outputTokens }) => outputTokens),
    goodRequests: completed.filter((outcome) => isGood(outcome, goodput)).length,
    ...peaks(completed),
    summaries: new Map(summaries),
  };
}

/** Whether a request keeps all bounds. */
function isGood(outcome: Outcome, goodput: Goodput): boolean {
  const within = (metric: Metric, value: number) => value <= (goodput.get(metric) ?? Infinity);
  return (
    within("ttft", firstTokenTime(outcome)) &&
    within("tpot", perOutputToken(outcome)) &&
    within("e2el", endToEnd(outcome))
  );
}

/** By whole seconds from the first request's start. */
function peaks(completed: readonly Outcome[]) {
  const first = completed.reduce((least, { start }) => Math.min(least, start), Infinity);
  const second = (time: number) => Math.floor((time - first) / 1000);
  const tokens = new Map<number, number>();
  const active = new Map<number, number>();
  const count = (into: Map<number, number>, at: number) => into.set(at, (into.get(at) ?? 0) + 1);
  for (const { start, times } of completed) {
    for (const time of times) count(tokens, second(time));
    for (let at = second(start); at <= second(times.at(-1)!); at++) count(active, at);
  }
  const most = (counts: Map<number, number>) => Math.max(0, ...counts.values());
  return { peakTokensPerSecond: most(tokens), peakConcurrency: most(active) };
}
