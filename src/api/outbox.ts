import type { ApiError } from "../errors.js";
import { ownTurn, runSlice } from "../turns.js";

/** Where chunks go: server-sent events or a WebSocket. */
export interface ChunkSink {
  chunk(chunk: string): void;
  done(): void;
  /** `chunk` says it in the language of a stream that has begun. */
  fail(error: ApiError, chunk: string): void;
  /** Resolves when the client has read most of what was sent, or is gone. */
  room(): Promise<void>;
}

/**
 * What a stream has to send, in its order. What is cheap goes out at once; the rest, and what comes behind
 * it, as the event loop has turns for it and the client reads.
 */
export class Outbox {
  readonly #sink: ChunkSink;
  readonly #onFault: (error: unknown) => void;
  #waiting: (() => void)[] = [];
  #sending = false;

  /** `onFault` hears what is thrown while nobody is there to catch it. */
  constructor(sink: ChunkSink, onFault: (error: unknown) => void) {
    this.#sink = sink;
    this.#onFault = onFault;
  }

  send(cheap: boolean, act: () => void): void {
    if (cheap && !this.#sending) {
      act();
      return;
    }
    this.#waiting.push(act);
    if (!this.#sending) this.#sendWaiting().catch(this.#onFault);
  }

  /** Forgets what waits. */
  clear(): void {
    this.#waiting = [];
  }

  async #sendWaiting(): Promise<void> {
    this.#sending = true;
    while (this.#waiting.length > 0) {
      await this.#sink.room();
      await ownTurn();
      runSlice(this.#acts());
    }
    this.#sending = false;
  }

  *#acts(): Generator<void, void> {
    for (let act = this.#waiting.shift(); act !== undefined; act = this.#waiting.shift()) {
      act();
      yield;
    }
  }
}
