/** Adapters whose counters one scrape reads: on a GPU each takes a copy, for which the event loop waits. */
export const MOST_READ_AT_ONCE = 16;

/** Tokens of each expert, [level][expert]. */
export type ExpertTokens = readonly (readonly number[])[];

/**
 * How many tokens went to the experts of resident adapters. However many there are, one look reads
 * the counters of a bounded number of them, the longest unread first; the others' are those of an
 * earlier look.
 */
export class ExpertCounts {
  readonly #counts = new Map<number, ExpertTokens>(); // the longest unread first

  /** Of those of the adapters that were read at least once. */
  look(
    adapters: readonly number[],
    read: (adapter: number) => ExpertTokens,
  ): ReadonlyMap<number, ExpertTokens> {
    const present = new Set(adapters);
    for (const adapter of this.#counts.keys()) {
      if (!present.has(adapter)) this.#counts.delete(adapter);
    }
    const unread = adapters.filter((adapter) => !this.#counts.has(adapter));
    for (const adapter of [...unread, ...this.#counts.keys()].slice(0, MOST_READ_AT_ONCE)) {
      this.#counts.delete(adapter);
      this.#counts.set(adapter, read(adapter));
    }
    return this.#counts;
  }
}
