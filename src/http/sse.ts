import type { Endpoint } from "../api/endpoint.js";
import type { ChunkSink } from "../api/outbox.js";
import type { ApiError } from "../errors.js";
import { entered } from "../hold.js";
import type { Exchange, Header } from "./request.js";
import type { UwsResponse } from "./uws.js";

const HEADERS: readonly Header[] = [
  ["Content-Type", "text/event-stream"],
  ["Cache-Control", "no-cache"],
  ["X-Accel-Buffering", "no"],
];

export function event(json: string): string {
  return `data: ${json}\n\n`;
}

interface Framing {
  readonly frame: (chunk: string) => string;
  readonly end: string;
}

const FRAMINGS: Readonly<Record<Endpoint["framing"], Framing>> = {
  data: { frame: event, end: event("[DONE]") },
  named: { frame: (chunk) => chunk, end: "" },
};

/**
 * Server-sent events, one write per chunk. The headers go out with the first
 * event, so that what fails before it is answered by its own status. While the socket is full, events
 * wait here; a client that lets more than `maxWaiting` characters pile up is dropped.
 */
export class EventStream implements ChunkSink {
  readonly #exchange: Exchange;
  readonly #framing: Framing;
  readonly #maxWaiting: number;
  readonly #onFailure: (error: ApiError) => void;
  /** Sends `#outgoing`. */
  readonly #flush: () => void;
  #begun = false;
  #outgoing = "";
  #waiting = "";
  #full = false;
  #onRoom: (() => void) | null = null;

  /** `onFailure` hears of every failure, after the client. */
  constructor(
    exchange: Exchange,
    framing: Endpoint["framing"],
    maxWaiting: number,
    onFailure: (error: ApiError) => void,
  ) {
    this.#exchange = exchange;
    this.#framing = FRAMINGS[framing];
    this.#maxWaiting = maxWaiting;
    this.#onFailure = onFailure;
    this.#flush = exchange.corked((response) => {
      this.#begin(response);
      this.#full = !response.write(this.#outgoing);
    });
    exchange.onAborted(() => this.#onRoom?.());
  }

  chunk(chunk: string): void {
    if (this.#exchange.closed || chunk === "") return;
    const text = this.#framing.frame(chunk);
    if (!this.#full) {
      this.#write(text);
      return;
    }
    this.#waiting += text;
    if (this.#waiting.length > this.#maxWaiting) this.#exchange.drop();
  }

  room(): Promise<void> {
    if (!this.#full || this.#exchange.closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onRoom = resolve;
    });
  }

  done(): void {
    if (this.#exchange.closed) return;
    this.#exchange.cork((response) => {
      this.#begin(response);
      response.end(this.#waiting + this.#framing.end);
    });
    this.#exchange.settled();
  }

  fail(error: ApiError, chunk: string): void {
    if (this.#begun) {
      this.#exchange.refusal = error.code;
      this.chunk(chunk);
      this.done();
    } else {
      this.#exchange.error(error);
    }
    this.#onFailure(error);
  }

  #write(text: string): void {
    this.#outgoing = text;
    this.#flush();
  }

  #begin(response: UwsResponse): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#exchange.writeHead(200, HEADERS);
    response.onWritable(() => {
      entered("request");
      const waiting = this.#waiting;
      this.#waiting = "";
      this.#full = false;
      if (waiting !== "") this.#write(waiting);
      if (!this.#full) this.#onRoom?.();
      return !this.#full;
    });
  }
}
