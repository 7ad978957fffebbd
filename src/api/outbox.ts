import type { ApiError } from "../errors.js";
import { ownTurn, runSlice } from "../turns.js";
import type { Chunk } from "./encode.js";

/** Characters of a long chunk that are written in one go. */
const PART_LENGTH = 16 << 10;

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
  #waiting: (() => Chunk | null)[] = [];
  #sending = false;
  #stopped = false;

  /** `onFault` hears what is thrown while nobody is there to catch it. */
  constructor(sink: ChunkSink, onFault: (error: unknown) => void) {
    this.#sink = sink;
    this.#onFault = onFault;
  }

  /** `make`: the next chunk, or null when it did by itself what was to be done. */
  send(cheap: boolean, make: () => Chunk | null): void {
    if (this.#stopped) return;
    let next = make;
    if (cheap && !this.#sending) {
      const chunk = make();
      if (chunk === null || typeof chunk === "string") {
        this.#write(chunk);
        return;
      }
      next = () => chunk;
    }
    this.#waiting.push(next);
    if (!this.#sending) this.#sendWaiting().catch(this.#onFault);
  }

  /** Forgets what waits, for ever. */
  stop(): void {
    this.#stopped = true;
  }

  async #sendWaiting(): Promise<void> {
    this.#sending = true;
    const work = this.#steps();
    try {
      let done = false;
      while (!done) {
        await this.#sink.room();
        await ownTurn();
        done = runSlice(work).done === true;
      }
    } finally {
      this.#sending = false;
    }
  }

  *#steps(): Generator<void, void> {
    for (let make = this.#next(); make !== undefined; make = this.#next()) {
      const chunk = make();
      if (chunk === null || typeof chunk === "string") this.#write(chunk);
      else yield* this.#writePieces(chunk);
      yield;
    }
  }

  #next() {
    return this.#stopped ? undefined : this.#waiting.shift();
  }

  *#writePieces(pieces: Iterable<string>): Generator<void, void> {
    let part = "";
    for (const piece of pieces) {
      if (this.#stopped) return;
      part += piece;
      if (part.length >= PART_LENGTH) {
        this.#write(part);
        part = "";
      }
      yield;
    }
    this.#write(part);
  }

  #write(chunk: string | null): void {
    if (chunk !== null && chunk !== "") this.#sink.chunk(chunk);
  }
}
