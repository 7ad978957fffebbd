import { hitRate, Segments, type Srp, type Trace } from "./consistency.js";

/** What counts of routing say. */

/** 1 when all experts are chosen equally often, 0 when one takes everything. */
export function evenness(counts: readonly number[]): number {
  const all = counts.reduce((sum, count) => sum + count, 0);
  const bits = counts
    .filter((count) => count > 0)
    .reduce((sum, count) => sum - (count / all) * Math.log(count / all), 0);
  return counts.length === 1 ? 1 : bits / Math.log(counts.length);
}

/** Expert by expert. Of lists of one length. */
export function sumOf(lists: readonly (readonly number[])[]): number[] {
  return (lists[0] ?? []).map((_, i) => lists.reduce((sum, counts) => sum + counts[i]!, 0));
}

/** Tokens that SRP and SCH look at together. */
export const SEGMENT = 16;

/** The share of uses that a cache should hold. */
export const GOOD_HIT_RATE = 0.95;

export interface CacheRates {
  /** Experts of each tree. */
  readonly capacity: number;
  /** What leaves is what is used least soon, as only an oracle knows (SCH). */
  readonly oracle: number;
  /** What leaves is what was used least recently. */
  readonly lru: number;
}

/** How consistent the routing of one level is, over all its trees. */
export interface Consistency {
  readonly srp: Srp;
  readonly rates: readonly CacheRates[];
}

/**
 * `trees`: of each tree, a trace for each generation; at least one token in all. `capacities` of the cache, which goes on from
 * generation to generation, as a server's does. A step of work at each pause.
 */
export function* consistencyOf(
  trees: readonly (readonly Trace[])[],
  experts: number,
  capacities: readonly number[],
): Generator<void, Consistency> {
  const segments = new Segments(SEGMENT);
  for (const trace of trees.flat()) {
    for (let expert = 0; expert < experts; expert++) segments.add(trace, expert);
    yield;
  }
  const rates: CacheRates[] = [];
  for (const capacity of capacities) {
    let [oracle, lru] = [0, 0];
    for (const traces of trees) {
      oracle += hitRate(traces.flat(), capacity, SEGMENT) / trees.length;
      lru += hitRate(traces.flat(), capacity, null) / trees.length;
      yield;
    }
    rates.push({ capacity, oracle, lru });
  }
  return { srp: segments.best(), rates };
}

/** Every size from one expert to all, or where those are many the powers of two among them. */
export function cacheSizes(experts: number, most: number): number[] {
  const all = Array.from({ length: experts }, (_, i) => i + 1);
  if (experts <= most) return all;
  return all.filter((size) => size === experts || Number.isInteger(Math.log2(size)));
}

/** The smallest of these caches that holds enough. */
export function enoughOf(rates: readonly CacheRates[]): number {
  return rates.find(({ lru }) => lru >= GOOD_HIT_RATE)?.capacity ?? rates.at(-1)!.capacity;
}
