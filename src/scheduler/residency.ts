/**
 * absent: nothing asked of the engine. loading: asked. refused: there was no room; asked again once
 * something is released. pinned: in memory and held there by us.
 */
type Pin = { state: "absent" | "loading" | "refused" | "pinned"; users: number; releases: number };

/**
 * Which adapters are pinned in the engine, and for whom. One pin per adapter, however many sequences
 * use it. Pure: the loop carries out what `toAcquire` and `toRelease` hold and reports back.
 */
export class Residency {
  readonly #pins = new Map<number, Pin>();
  readonly #granted = new Set<number>(); // and not seen to be evicted since
  readonly #kept = new Set<number>(); // pinned beside these, by request of an operator
  #releases = 0;
  /** Adapters that the engine shall make resident and pin. The loop empties it. */
  readonly toAcquire: number[] = [];
  /** Pins that the engine shall drop. The loop empties it. */
  readonly toRelease: number[] = [];

  /** Sees to it that the adapter will be pinned. */
  want(adapter: number): void {
    const pin = this.#pin(adapter);
    if (pin.state !== "absent") return;
    pin.state = "loading";
    pin.releases = this.#releases;
    this.toAcquire.push(adapter);
  }

  /** Whether a sequence that goes through these can start now. */
  hasAll(adapters: readonly number[]): boolean {
    return adapters.every((adapter) => this.#pins.get(adapter)?.state === "pinned");
  }

  /** Whether anything has been asked of the engine for it and not been given back. */
  knows(adapter: number): boolean {
    return this.#pins.has(adapter);
  }

  /** The engine keeps it in memory whether it is used or not. */
  keep(adapter: number): void {
    this.#kept.add(adapter);
  }

  isKept(adapter: number): boolean {
    return this.#kept.has(adapter);
  }

  /** It is unloaded: nothing of it remains. */
  forget(adapter: number): void {
    this.#kept.delete(adapter);
    this.#granted.delete(adapter);
    this.#retryRefused();
  }

  addUser(adapters: readonly number[]): void {
    for (const adapter of adapters) this.#pin(adapter).users += 1;
  }

  removeUser(adapters: readonly number[]): void {
    for (const adapter of adapters) this.#pin(adapter).users -= 1;
  }

  /** How many sequences that run, or leave, go through it. */
  usersOf(adapter: number): number {
    return this.#pins.get(adapter)?.users ?? 0;
  }

  granted(adapter: number): void {
    this.#pin(adapter).state = "pinned";
    this.#granted.add(adapter);
  }

  /** There was no room. */
  refused(adapter: number): void {
    const pin = this.#pin(adapter);
    // Room may have come up meanwhile.
    pin.state = pin.releases === this.#releases ? "refused" : "absent";
  }

  /**
   * Whether one of these was refused although nothing but these is pinned or being loaded: a sequence that
   * goes through all of them will never start.
   */
  hopeless(adapters: readonly number[]): boolean {
    const inTheWay = [...this.#pins].some(
      ([adapter, { state, users }]) =>
        state === "loading" || (state === "pinned" && (users > 0 || !adapters.includes(adapter))),
    );
    return !inTheWay && adapters.some((adapter) => this.#pins.get(adapter)?.state === "refused");
  }

  /** The engine could not load it. */
  failed(adapter: number): void {
    this.#pins.delete(adapter);
    this.#retryRefused();
  }

  /** Drops the pins that no running sequence uses, but for those that `keep` wants. */
  releaseUnused(keep: (adapter: number) => boolean): void {
    for (const [adapter, pin] of this.#pins) {
      if (pin.state === "loading" || pin.users > 0 || keep(adapter)) continue;
      this.#pins.delete(adapter);
      if (pin.state !== "pinned") continue;
      this.toRelease.push(adapter);
      this.#retryRefused();
    }
  }

  pinned(): number[] {
    return [...this.#pins].filter(([, pin]) => pin.state === "pinned").map(([adapter]) => adapter);
  }

  /**
   * The adapters in memory. The engine, which evicts those without a pin, is asked by `isResident`
   * of the ones that were there at the last look or were pinned since, however many it knows.
   */
  resident(isResident: (adapter: number) => boolean): number[] {
    for (const adapter of this.#granted) {
      if (!isResident(adapter)) this.#granted.delete(adapter);
    }
    return [...new Set([...this.#granted, ...this.#kept])];
  }

  #retryRefused(): void {
    this.#releases += 1;
    for (const pin of this.#pins.values()) if (pin.state === "refused") pin.state = "absent";
  }

  #pin(adapter: number): Pin {
    let pin = this.#pins.get(adapter);
    if (pin === undefined) {
      pin = { state: "absent", users: 0, releases: 0 };
      this.#pins.set(adapter, pin);
    }
    return pin;
  }
}
