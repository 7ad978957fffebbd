import { randomUUID } from "node:crypto";
import { STATUS_CODES } from "node:http";
import { ApiError, type ErrorCode, errorBody } from "../errors.js";
import { entered } from "../hold.js";
import { jsonPieces } from "../json/write.js";
import { RequestTrace } from "../telemetry/request-trace.js";
import { readTraceContext, type SpanName } from "../telemetry/trace-context.js";
import { ownTurn, spread } from "../turns.js";
import type { Account } from "./account.js";
import type { UwsRequest, UwsResponse } from "./uws.js";

/**
 * One request and its answer. This file and sse.ts keep uWebSockets' rules: the request object dies
 * with the callback, chunks of a body are detached on return, a response must not be touched after
 * it ended or its client left, and writes outside uWS' own callbacks are corked.
 */

export interface BodyLimits {
  readonly bodyBytes: number;
  /** Longest silence within a body. */
  readonly bodyIdleMs: number;
  /** Longest time for a whole body. */
  readonly bodyTotalMs: number;
}

/** Characters of a long answer that are written in one go. */
const PART_LENGTH = 128 << 10;

export type Header = readonly [name: string, value: string];

/** What a client may call its request; longer or stranger ids are replaced. */
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

/** uWS closes a connection that has been idle for 8 to 12 seconds; clients had better not reuse it then. */
const KEEP_ALIVE: Header = ["Keep-Alive", "timeout=8"];

export const JSON_TYPE = "application/json";

export class Exchange {
  readonly method: string;
  readonly path: string;
  /** The caller's span, where it sent one. */
  readonly parent: SpanName | null;
  /** Its id, and its place in a trace. */
  readonly trace: RequestTrace;
  /** As the header has it; a WebSocket's sub-protocol may say it in its place. */
  authorization: string;
  /** X-Request-Timeout: seconds until the client gives up. */
  readonly timeout: string;
  /** The version of a file that the client has already, as its header If-None-Match says it. */
  readonly knownVersion: string;
  /** Whose key the client sent; null while that is not known or nobody needs one. */
  account: Account | null = null;
  readonly started = performance.now();
  /** How its errors are told. */
  errorBody: (error: ApiError) => object = errorBody;
  /** Status of the answer, 0 before it has begun. */
  status = 0;
  /** The error that it was answered with, be it within a stream. */
  refusal: ErrorCode | null = null;

  readonly #response: UwsResponse;
  readonly #headers: readonly Header[];
  readonly #announcedLength: number;
  readonly #onClosed: (exchange: Exchange) => void;
  #closed = false;
  readonly #onAborted: (() => void)[] = [];

  /** `onClosed` is called once, when the answer is complete or the client is gone. */
  constructor(
    response: UwsResponse,
    request: UwsRequest,
    headers: readonly Header[],
    onClosed: (exchange: Exchange) => void,
  ) {
    this.method = request.getMethod();
    this.path = request.getUrl();
    const key = request.getHeader("x-api-key"); // where Anthropic's clients send it
    this.authorization = key === "" ? request.getHeader("authorization") : `Bearer ${key}`;
    this.timeout = request.getHeader("x-request-timeout");
    this.knownVersion = request.getHeader("if-none-match");
    const given = request.getHeader("x-request-id");
    const requestId = REQUEST_ID.test(given) ? given : randomUUID().replaceAll("-", "");
    const caller = request.getHeader("traceparent");
    const state = caller === "" ? "" : request.getHeader("tracestate");
    this.parent = readTraceContext(caller, state);
    this.trace = new RequestTrace(requestId, this.parent);
    this.#announcedLength = Number(request.getHeader("content-length"));
    this.#response = response;
    this.#headers = [["X-Request-Id", requestId], KEEP_ALIVE, ...headers];
    this.#onClosed = onClosed;
    response.onAborted(() => {
      entered("request");
      this.#close();
      for (const handler of this.#onAborted) handler();
    });
  }

  /** The answer is complete or the client is gone: nothing can be sent. */
  get closed(): boolean {
    return this.#closed;
  }

  /** `handler` runs when the client leaves before the answer is complete. */
  onAborted(handler: () => void): void {
    this.#onAborted.push(handler);
  }

  /**
   * The body; to be called within the route's callback. Rejects with ApiError when it is too large or
   * late. Stays pending when the client leaves: nobody is left to be answered.
   */
  async body(limits: BodyLimits): Promise<Buffer> {
    const chunks = await this.#chunks(limits);
    return chunks.length === 1 ? chunks[0]! : await spread(together(chunks));
  }

  #chunks(limits: BodyLimits): Promise<Buffer[]> {
    return new Promise((resolve, reject) => {
      const tooLarge = () => {
        const message = `The body of the request is larger than ${limits.bodyBytes} bytes.`;
        return new ApiError("content_too_large", { message });
      };
      if (this.#announcedLength > limits.bodyBytes) {
        reject(tooLarge());
        return;
      }
      const chunks: Buffer[] = [];
      let size = 0;
      const stop = () => {
        clearTimeout(silence);
        clearTimeout(deadline);
      };
      const late = () => {
        entered("timer");
        stop();
        reject(new ApiError("request_timeout"));
      };
      const silence = setTimeout(late, limits.bodyIdleMs);
      const deadline = setTimeout(late, limits.bodyTotalMs);
      this.#onAborted.push(stop);
      this.#response.onData((chunk, isLast) => {
        entered("request");
        if (this.#closed) return;
        size += chunk.byteLength;
        if (size > limits.bodyBytes) {
          stop();
          chunks.length = 0;
          reject(tooLarge());
          return;
        }
        chunks.push(Buffer.from(chunk.slice(0)));
        silence.refresh();
        if (!isLast) return;
        stop();
        resolve(chunks);
      });
    });
  }

  json(status: number, body: unknown): void {
    this.send(status, JSON_TYPE, JSON.stringify(body));
  }

  /** A JSON body that may be long: plain, but for the lazy lists of src/json in it. */
  async answer(body: object): Promise<void> {
    const parts = await spread(joined(jsonPieces(body)));
    if (this.#closed) return;
    if (this.method === "head") {
      const bytes = parts.reduce((sum, part) => sum + Buffer.byteLength(part), 0);
      this.#sendHead(200, [["Content-Type", JSON_TYPE]], bytes);
    } else if (parts.length === 1) {
      this.send(200, JSON_TYPE, parts[0]!);
    } else {
      await this.#sendParts(JSON_TYPE, parts);
    }
  }

  error(error: ApiError, more: readonly Header[] = []): void {
    this.refusal = error.code;
    const headers: Header[] = [...more];
    if (error.retryAfter !== null) headers.push(["Retry-After", String(error.retryAfter)]);
    if (error.status === 401) headers.push(["WWW-Authenticate", "Bearer"]);
    // The rest of a body that did not come in time would be read as the next request, and a server
    // that shuts down has no use for a connection.
    const last = error.code === "request_timeout" || error.code === "draining";
    this.send(error.status, JSON_TYPE, JSON.stringify(this.errorBody(error)), headers, last);
  }

  /** `last`: the connection is closed after this answer. */
  send(
    status: number,
    contentType: string,
    body: string,
    headers: readonly Header[] = [],
    last = false,
  ): void {
    if (this.#closed) return;
    const all: Header[] = [["Content-Type", contentType], ...headers];
    if (this.method === "head") {
      this.#sendHead(status, all, Buffer.byteLength(body));
      return;
    }
    this.#response.cork(() => {
      this.writeHead(status, all);
      this.#response.end(body, last);
    });
    this.#close();
  }

  /** All but the body, which would have so many bytes. */
  #sendHead(status: number, headers: readonly Header[], bytes: number): void {
    this.#response.cork(() => {
      this.writeHead(status, headers);
      this.#response.writeHeader("Content-Length", String(bytes));
      this.#response.endWithoutBody();
    });
    this.#close();
  }

  /** As the client reads, one part in a turn of the event loop. */
  async #sendParts(contentType: string, parts: readonly string[]): Promise<void> {
    let full = false;
    let room = () => {};
    this.onAborted(() => room());
    for (const [i, part] of parts.entries()) {
      await ownTurn();
      if (full) await new Promise<void>((resolve) => (room = resolve));
      if (this.#closed) return;
      this.cork((response) => {
        if (i === 0) {
          this.writeHead(200, [["Content-Type", contentType]]);
          response.onWritable(() => {
            entered("request");
            full = false;
            room();
            return true;
          });
        }
        full = !response.write(part);
      });
    }
    this.cork((response) => response.end());
    this.#close();
  }

  /** An answer without a body. */
  empty(status: number, headers: readonly Header[]): void {
    if (this.#closed) return;
    this.#response.cork(() => {
      this.writeHead(status, headers);
      this.#response.endWithoutBody();
    });
    this.#close();
  }

  /** Writes of a stream, begun by `writeHead` and ended by `settled`; gathered into one packet. */
  cork(write: (response: UwsResponse) => void): void {
    this.corked(write)();
  }

  /** `cork` to be called again and again: what a token costs counts. */
  corked(write: (response: UwsResponse) => void): () => void {
    const response = this.#response;
    const writeCorked = () => write(response);
    return () => {
      response.cork(writeCorked);
    };
  }

  /** Within `cork`. */
  writeHead(status: number, headers: readonly Header[]): void {
    this.status = status;
    this.#response.writeStatus(`${status} ${STATUS_CODES[status] ?? ""}`);
    for (const [name, value] of headers) this.#response.writeHeader(name, value);
    for (const [name, value] of this.#headers) this.#response.writeHeader(name, value);
    for (const [name, value] of this.trace.headers) this.#response.writeHeader(name, value);
  }

  /** The caller has made the last write of a stream. */
  settled(): void {
    this.#close();
  }

  /** The caller has turned the connection into a WebSocket. */
  upgraded(): void {
    this.status = 101;
    this.#close();
  }

  /** Drops a client that does not read. */
  drop(): void {
    if (!this.#closed) this.#response.close();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClosed(this);
  }
}

/** Puts the chunks of a body together, one in a step. */
function* together(chunks: readonly Buffer[]): Generator<void, Buffer> {
  const whole = Buffer.allocUnsafeSlow(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    at += chunk.copy(whole, at);
    yield;
  }
  return whole;
}

/** Gathers pieces into parts of about PART_LENGTH. */
function* joined(pieces: Iterable<string>): Generator<void, string[]> {
  const parts: string[] = [];
  let part = "";
  for (const piece of pieces) {
    part += piece;
    if (part.length >= PART_LENGTH) {
      parts.push(part);
      part = "";
    }
    yield;
  }
  if (part !== "") parts.push(part);
  return parts;
}
