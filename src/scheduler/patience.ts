import type { Sequence } from "./sequence.js";

/**
 * How long requests wait for their adapters' loads. A request's clock runs while the engine is asked for
 * one of them; that others leave no room for it is a matter of the queue, and of the request's own time
 * limit.
 */
export class Patience {
  readonly #ms: number;
  readonly #giveUp: (sequence: Sequence) => void;
  readonly #loading = new Set<number>(); // adapters
  readonly #clocks = new Map<Sequence, NodeJS.Timeout>();

  constructor(ms: number, giveUp: (sequence: Sequence) => void) {
    this.#ms = ms;
    this.#giveUp = giveUp;
  }

  /** The engine is asked for an adapter that some of `waiting` want. */
  loadBegan(adapter: number, waiting: readonly Sequence[]): void {
    this.#loading.add(adapter);
    for (const sequence of waiting) this.add(sequence);
  }

  /** A request that has come, maybe while its adapter is being loaded. */
  add(sequence: Sequence): void {
    if (!this.#isLoading(sequence) || this.#clocks.has(sequence)) return;
    const end = () => {
      this.remove(sequence);
      this.#giveUp(sequence);
    };
    this.#clocks.set(sequence, setTimeout(end, this.#ms).unref());
  }

  /** The engine has answered, whatever it said. */
  loadEnded(adapter: number): void {
    this.#loading.delete(adapter);
    for (const sequence of this.#clocks.keys()) {
      if (!this.#isLoading(sequence)) this.remove(sequence);
    }
  }

  #isLoading({ adapters }: Sequence): boolean {
    return adapters.some((adapter) => this.#loading.has(adapter));
  }

  remove(sequence: Sequence): void {
    clearTimeout(this.#clocks.get(sequence));
    this.#clocks.delete(sequence);
  }
}
