import type { ChunkSink } from "../api/run.js";
import { type ApiError, errorBody } from "../errors.js";
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

const DONE = event("[DONE]");

/**
 * Server-sent events as OpenAI streams them, one write per event. The headers go out with the first
 * event, so that what fails before it is answered by its own status. While the socket is full, events
 * wait here; a client that lets more than `maxWaiting` characters pile up is dropped.
 */
export class EventStream implements ChunkSink {
  readonly #exchange: Exchange;
  readonly #maxWaiting: number;
  readonly #onFailure: (error: ApiError) => void;
  #begun = false;
  #waiting = "";
  #full = false;

  /** `onFailure` hears of every failure, after the client. */
  constructor(exchange: Exchange, maxWaiting: number, onFailure: (error: ApiError) => void) {
    this.#exchange = exchange;
    this.#maxWaiting = maxWaiting;
    this.#onFailure = onFailure;
  }

  chunk(json: string): void {
    if (this.#exchange.closed) return;
    if (!this.#full) {
      this.#write(event(json));
      return;
    }
    this.#waiting += event(json);
    if (this.#waiting.length > this.#maxWaiting) this.#exchange.drop();
  }

  done(): void {
    if (this.#exchange.closed) return;
    this.#exchange.cork((response) => {
      this.#begin(response);
      response.end(this.#waiting + DONE);
    });
    this.#exchange.settled();
  }

  fail(error: ApiError): void {
    if (this.#begun) {
      this.chunk(JSON.stringify(errorBody(error)));
      this.done();
    } else {
      this.#exchange.error(error);
    }
    this.#onFailure(error);
  }

  #write(text: string): void {
    this.#exchange.cork((response) => {
      this.#begin(response);
      this.#full = !response.write(text);
    });
  }

  #begin(response: UwsResponse): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#exchange.writeHead(200, HEADERS);
    response.onWritable(() => {
      const waiting = this.#waiting;
      this.#waiting = "";
      this.#full = false;
      if (waiting !== "") this.#write(waiting);
      return !this.#full;
    });
  }
}
