export interface Use {
  readonly requests: number;
  readonly tokens: number;
}

const UNUSED: Use = { requests: 0, tokens: 0 };

/** What went through each adapter, by handle. Grows with the adapters that were used, not with those registered. */
export class AdapterUse {
  readonly #uses = new Map<number, { requests: number; tokens: number }>();

  /** A token was sampled through these. */
  token(adapters: readonly number[]): void {
    for (const adapter of adapters) this.#use(adapter).tokens += 1;
  }

  /** A request through these ended. */
  ended(adapters: readonly number[]): void {
    for (const adapter of adapters) this.#use(adapter).requests += 1;
  }

  of(adapter: number): Use {
    return this.#uses.get(adapter) ?? UNUSED;
  }

  /** The adapter is gone for good. */
  forget(adapter: number): void {
    this.#uses.delete(adapter);
  }

  #use(adapter: number) {
    let use = this.#uses.get(adapter);
    if (use === undefined) {
      use = { requests: 0, tokens: 0 };
      this.#uses.set(adapter, use);
    }
    return use;
  }
}
