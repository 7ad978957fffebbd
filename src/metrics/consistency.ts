/**
 * How consistent routing is over neighbouring tokens (SRP), and what a cache of experts can make of it (SCH), to the letter of
 * the code published with these measures (ljcleo/moe-lrc).
 */

/** The experts of every token, each once, in the order in which they are loaded. */
export type Trace = readonly (readonly number[])[];

export interface Srp {
  /** F1 of the best prediction that is fixed for a whole segment; 1 = every segment uses the same experts throughout. */
  readonly srp: number;
  /** Experts that this prediction keeps, per expert that a token uses; null when none is used. */
  readonly sizeRatio: number | null;
}

/** Uses of experts in all segments of `length` tokens, one beginning at every token. */
export class Segments {
  readonly #length: number;
  readonly #byUses: number[]; // by uses in a segment: how many pairs of expert and segment

  constructor(length: number) {
    this.#length = length;
    this.#byUses = new Array<number>(length + 1).fill(0);
  }

  add(trace: Trace, expert: number): void {
    const used = trace.map((experts) => (experts.includes(expert) ? 1 : 0));
    let uses = 0;
    for (const [token, now] of used.entries()) {
      uses += now - (used[token - this.#length] ?? 0);
      if (token >= this.#length - 1) this.#byUses[uses]! += 1;
    }
  }

  /** The best threshold: experts used at least so often in a segment are predicted for all of it. */
  best(): Srp {
    const all = this.#byUses.reduce((sum, pairs, uses) => sum + pairs * uses, 0);
    let best: Srp = { srp: 0, sizeRatio: null };
    if (all === 0) return best;
    let [pairs, found] = [0, 0];
    for (let least = this.#length; least >= 1; least--) {
      pairs += this.#byUses[least]!;
      found += this.#byUses[least]! * least;
      const srp = (2 * found) / (this.#length * pairs + all);
      if (srp >= best.srp) best = { srp, sizeRatio: (this.#length * pairs) / all };
    }
    return best;
  }
}

/**
 * The share of uses whose expert is in a cache of `capacity` experts. What leaves it: with a `segment`, the expert used least in the
 * next `segment` - 1 tokens, which only an oracle knows; else, and among equals, the least recently used. The first use of an expert is a
 * hit while the cache is not full.
 */
export function hitRate(trace: Trace, capacity: number, segment: number | null): number {
  const coming = usesBefore(trace);
  const cache = new Map<number, true>(); // least recently used first
  const known = new Set<number>();
  let [hits, uses] = [0, 0];
  for (const [token, experts] of trace.entries()) {
    for (const expert of experts) {
      uses += 1;
      if (cache.has(expert) || (!known.has(expert) && known.size < capacity)) hits += 1;
      known.add(expert);
    }
    const soon = (expert: number) =>
      segment === null ? 0 : coming(expert, token + segment) - coming(expert, token + 1);
    for (const [turn, expert] of experts.entries()) {
      if (!cache.delete(expert) && cache.size === capacity) {
        const waiting = segment === null ? [] : experts.slice(turn + 1);
        const value = (cached: number) => soon(cached) + (waiting.includes(cached) ? 1 : 0);
        cache.delete([...cache.keys()].reduce((a, b) => (value(b) < value(a) ? b : a)));
      }
      cache.set(expert, true);
    }
  }
  return hits / uses;
}

/** Counts uses of an expert in the tokens before `end`. */
function usesBefore(trace: Trace): (expert: number, end: number) => number {
  const sums = new Map<number, Uint32Array>();
  for (const expert of new Set(trace.flat())) {
    const sum = new Uint32Array(trace.length + 1);
    for (const [token, experts] of trace.entries()) {
      sum[token + 1] = sum[token]! + (experts.includes(expert) ? 1 : 0);
    }
    sums.set(expert, sum);
  }
  return (expert, end) => sums.get(expert)?.[Math.min(end, trace.length)] ?? 0;
}
