import { entered } from "../hold.js";
import { residentMemory } from "../resident-memory.js";
import type { NativeModule } from "./native.js";

const CHECK_MS = 5000;
/** Growth since the last time that is worth a look at the whole heap. */
const GROWTH_BYTES = 64 << 20;

/**
 * Tokenizing takes about fifty times a text's size from the C library's heap, which keeps most of
 * that for ever: pages free below others in use. This gives it back, off the event loop.
 */
export class HeapTrimmer {
  readonly #native: Pick<NativeModule, "trimHeap">;
  readonly #resident: () => number;
  #least: number;
  #trimming = false;

  constructor(native: Pick<NativeModule, "trimHeap">, resident = residentMemory) {
    this.#native = native;
    this.#resident = resident;
    this.#least = resident();
  }

  /** Keeps no process alive. */
  watch(): void {
    setInterval(() => void this.check(), CHECK_MS).unref();
  }

  async check(): Promise<void> {
    entered("timer");
    this.#least = Math.min(this.#least, this.#resident());
    if (this.#trimming || this.#resident() < this.#least + GROWTH_BYTES) return;
    this.#trimming = true;
    await this.#native.trimHeap();
    this.#trimming = false;
    this.#least = this.#resident();
  }
}
