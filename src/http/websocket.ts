import { readBody } from "../api/body.js";
import { chat } from "../api/chat.js";
import { completions } from "../api/completions.js";
import type { ApiContext } from "../api/context.js";
import { type Client, type Endpoint, generate } from "../api/endpoint.js";
import type { ChunkSink } from "../api/outbox.js";
import type { Run } from "../api/run.js";
import { invalid, type JsonObject } from "../api/schema.js";
import { ApiError, errorBody, toApiError } from "../errors.js";
import { entered } from "../hold.js";
import { RequestTrace } from "../telemetry/request-trace.js";
import type { SpanName } from "../telemetry/trace-context.js";
import type { Account } from "./account.js";
import { clientContext } from "./client-context.js";
import type { Limits, Log, ServerOptions } from "./options.js";
import type { Exchange } from "./request.js";
import { readSubProtocols } from "./sub-protocol.js";
import type { UwsRequest, UwsResponse, UwsWebSocket, UwsWebSocketBehavior } from "./uws.js";

/**
 * /v1/stream: many generations over one WebSocket. A client sends a request's body with an `id` of
 * its own and a `type`, gets the chunks of the HTTP API with that id, and a `done`.
 */

/** Above our own limit uWS reads on up to its own, past which it drops a socket without a close frame. */
const UWS_FRAME_BYTES = 64 << 20;
const CLOSE_TOO_BIG = 1009;
const CLOSE_GOING_AWAY = 1001;
const CLOSE_POLICY = 1008;

type ClientId = string | number;

const ENDPOINTS: Readonly<Record<string, Endpoint>> = {
  "chat.completion": chat,
  completion: completions,
};

interface SocketOptions {
  readonly limits: Limits;
  readonly context: () => ApiContext;
  /** Throws ApiError when the client may not connect. */
  readonly admit: (exchange: Exchange, origin: string, host: string) => void;
  /** Throws ApiError when the client's time limit is none. */
  readonly timeoutMs: (exchange: Exchange) => number | null;
  readonly exchange: (response: UwsResponse, request: UwsRequest) => Exchange;
  readonly unknownFields: (names: readonly string[], trace: RequestTrace) => void;
  readonly refused: ServerOptions["refused"];
  readonly tracing: ServerOptions["tracing"];
  readonly log: Log;
}

interface UserData extends Opening {
  connection: Connection | null; // set by open; null where the client was refused
  readonly refusal: string | null;
}

/** What the request that opened a socket said; it holds for every generation on it. */
interface Opening {
  readonly account: Account | null;
  readonly timeoutMs: number | null;
  readonly requestId: string;
  readonly parent: SpanName | null;
}

/** All WebSockets of a server. */
export class WebSocketEndpoint {
  readonly behavior: UwsWebSocketBehavior<UserData>;
  readonly #options: SocketOptions;
  readonly #connections = new Set<Connection>();
  #drained: (() => void) | null = null;

  constructor(options: SocketOptions) {
    this.#options = options;
    this.behavior = {
      maxPayloadLength: Math.max(UWS_FRAME_BYTES, 2 * options.limits.frameBytes),
      idleTimeout: options.limits.socketIdleSeconds,
      sendPingsAutomatically: true,
      maxBackpressure: 0, // none: a connection looks after its own buffer
      upgrade: (response, request, context) => {
        entered("request");
        this.#upgrade(response, request, context);
      },
      open: (socket) => {
        entered("request");
        this.#opened(socket);
      },
      message: (socket, message) => {
        entered("request");
        socket.getUserData().connection?.onMessage(message);
      },
      drain: (socket) => {
        entered("request");
        socket.getUserData().connection?.onDrained();
      },
      close: (socket) => {
        entered("request");
        this.#closed(socket);
      },
    };
  }

  /** Lets the running generations end, then closes every socket with 1001. */
  drain(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained = resolve;
      if (this.#connections.size === 0) resolve();
      for (const connection of [...this.#connections]) connection.drain();
    });
  }

  #upgrade(response: UwsResponse, request: UwsRequest, context: unknown): void {
    const exchange = this.#options.exchange(response, request);
    const protocol = readSubProtocols(request.getHeader("sec-websocket-protocol"));
    if (protocol.key !== null) exchange.authorization = `Bearer ${protocol.key}`;
    let timeoutMs: number | null = null;
    let refusal: string | null = null;
    try {
      timeoutMs = this.#options.timeoutMs(exchange);
      this.#options.admit(exchange, request.getHeader("origin"), request.getHeader("host"));
    } catch (error) {
      const known = toApiError(error);
      // A page cannot read the status of a refused upgrade: it is told by a close frame.
      if (protocol.key === null || known.status !== 401) {
        exchange.error(known);
        return;
      }
      refusal = known.message;
      this.#options.refused(known.code);
    }
    const { account, parent, trace } = exchange;
    const { requestId } = trace;
    response.upgrade<UserData>(
      { connection: null, account, timeoutMs, requestId, parent, refusal },
      request.getHeader("sec-websocket-key"),
      protocol.chosen,
      request.getHeader("sec-websocket-extensions"),
      context,
    );
    exchange.upgraded();
  }

  #opened(socket: UwsWebSocket<UserData>): void {
    const data = socket.getUserData();
    if (data.refusal !== null) {
      socket.end(CLOSE_POLICY, data.refusal);
      return;
    }
    const connection = new Connection(socket, this.#options, data);
    data.connection = connection;
    this.#connections.add(connection);
  }

  #closed(socket: UwsWebSocket<UserData>): void {
    const { connection } = socket.getUserData();
    if (connection === null) return;
    connection.onClosed();
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.#drained?.();
  }
}

/** One socket and the generations that run on it. */
class Connection {
  readonly #socket: UwsWebSocket<UserData>;
  readonly #options: SocketOptions;
  readonly #opening: Opening;
  readonly #running = new Map<ClientId, Stream>();
  #reading: Promise<void> = Promise.resolve();
  #unread = 0; // bytes of messages
  #onRoom: (() => void)[] = [];
  #open = true;
  #draining = false;

  constructor(socket: UwsWebSocket<UserData>, options: SocketOptions, opening: Opening) {
    this.#socket = socket;
    this.#options = options;
    this.#opening = opening;
  }

  onMessage(message: ArrayBuffer): void {
    if (message.byteLength > this.#options.limits.frameBytes) {
      this.#socket.end(
        CLOSE_TOO_BIG,
        `messages hold at most ${this.#options.limits.frameBytes} bytes`,
      );
      return;
    }
    // uWS takes the message back when this returns.
    const bytes = Buffer.from(message.slice(0));
    this.#unread += bytes.length;
    if (this.#unread > 2 * this.#options.limits.frameBytes) {
      this.#socket.end(CLOSE_POLICY, "messages come faster than they can be read");
      return;
    }
    this.#reading = this.#reading.then(() => this.#read(bytes));
  }

  /** Messages in their order: a large one is read over several turns of the event loop. */
  async #read(bytes: Buffer): Promise<void> {
    let id: ClientId | null = null;
    try {
      const frame = await readBody(bytes);
      if (!this.#open) return;
      id = clientId(frame);
      this.#onFrame(id, frame);
    } catch (error) {
      this.#sendError(id, toApiError(error));
    } finally {
      this.#unread -= bytes.length;
    }
  }

  onClosed(): void {
    this.#open = false;
    for (const stream of this.#running.values()) stream.cancel();
    this.#running.clear();
    this.onDrained();
  }

  /** The client has read on. */
  onDrained(): void {
    if (this.#open && this.#crowded) return;
    for (const resolve of this.#onRoom.splice(0)) resolve();
  }

  room(): Promise<void> {
    if (!this.#open || !this.#crowded) return Promise.resolve();
    return new Promise((resolve) => this.#onRoom.push(resolve));
  }

  get #crowded(): boolean {
    return this.#socket.getBufferedAmount() > this.#options.limits.waitingBytes / 2;
  }

  drain(): void {
    this.#draining = true;
    this.#closeWhenDrained();
  }

  send(json: string): void {
    if (!this.#open) return;
    this.#socket.send(json);
    // A client that does not read must not fill the memory.
    if (this.#socket.getBufferedAmount() > this.#options.limits.waitingBytes) this.#socket.close();
  }

  ended(id: ClientId, json: string): void {
    this.#running.delete(id);
    this.send(json);
    this.#closeWhenDrained();
  }

  failed(id: ClientId, error: unknown): void {
    this.#running.delete(id);
    this.#sendError(id, toApiError(error));
    this.#closeWhenDrained();
  }

  #onFrame(id: ClientId, frame: JsonObject): void {
    const { id: _, type, ...body } = frame;
    if (type === "cancel") {
      this.#running.get(id)?.stop();
      return;
    }
    if (typeof type !== "string" || !Object.hasOwn(ENDPOINTS, type)) {
      throw invalid("type", `one of ${[...Object.keys(ENDPOINTS), "cancel"].join(", ")}`, type);
    }
    if (this.#running.has(id)) {
      const message = `A generation with the id ${JSON.stringify(id)} is still running.`;
      throw new ApiError("invalid_parameter", { message, param: "id" });
    }
    if (this.#draining) throw new ApiError("draining");
    const endpoint = ENDPOINTS[type]!;
    const { account, timeoutMs } = this.#opening;
    const trace = this.#traceOf(type);
    const stream = new Stream(id, this, timeoutMs, trace, this.#options);
    const sender = { account, trace, gone: stream.left };
    const context = clientContext(sender, endpoint.operation, body, this.#options.context());
    this.#running.set(id, stream);
    generate(endpoint, body, id, context, stream).then(
      (run) => stream.started(run),
      (error: unknown) => {
        if (!stream.gone) stream.fail(toApiError(error));
      },
    );
  }

  /** Each generation is a request of its own below the span that opened the socket. */
  #traceOf(type: string): RequestTrace {
    const { requestId, parent } = this.#opening;
    const trace = new RequestTrace(requestId, parent);
    const tracing = this.#options.tracing();
    if (tracing !== null) trace.record(tracing, `WS ${type}`, performance.now(), {});
    return trace;
  }

  #sendError(id: ClientId | null, error: ApiError): void {
    this.#options.refused(error.code);
    if (error.status === 500) {
      const { requestId, account } = this.#opening;
      const facts = { requestId, generation: id, client: account?.name };
      this.#options.log.error({ ...facts, err: error.cause ?? error }, error.message);
    }
    this.send(JSON.stringify({ id, ...errorBody(error) }));
  }

  #closeWhenDrained(): void {
    if (!this.#draining || !this.#open || this.#running.size > 0) return;
    this.#socket.end(CLOSE_GOING_AWAY, "the server is shutting down");
  }
}

/** What comes back must be what was sent: larger numbers and -0 would not. */
function clientId({ id }: JsonObject): ClientId {
  if (typeof id === "string") return id;
  if (typeof id === "number" && Number.isSafeInteger(id) && !Object.is(id, -0)) return id;
  throw invalid("id", "a string, or a whole number up to 2^53-1", id);
}

/** One generation of a connection. */
class Stream implements Client, ChunkSink {
  readonly whole = null;
  readonly timeoutMs: number | null;
  readonly unknownFields: Client["unknownFields"];
  readonly #id: ClientId;
  readonly #connection: Connection;
  readonly #trace: RequestTrace;
  #run: Run | null = null;
  readonly #left = new AbortController();

  constructor(
    id: ClientId,
    connection: Connection,
    timeoutMs: number | null,
    trace: RequestTrace,
    { unknownFields }: SocketOptions,
  ) {
    this.#id = id;
    this.#connection = connection;
    this.timeoutMs = timeoutMs;
    this.#trace = trace;
    this.unknownFields = (names) => unknownFields(names, trace);
  }

  get gone(): boolean {
    return this.left.aborted;
  }

  /** Aborted when the client has closed the socket or cancelled. */
  get left(): AbortSignal {
    return this.#left.signal;
  }

  /** `run` is null when the client went away before it began. */
  started(run: Run | null): void {
    this.#run = run;
    if (this.gone) run?.cancel();
  }

  /** The client asked for its end: it still gets `done`. */
  stop(): void {
    this.cancel();
    this.done();
  }

  cancel(): void {
    this.#left.abort();
    this.#run?.cancel();
    this.#trace.end({}, null);
  }

  chunks(): ChunkSink {
    return this;
  }

  chunk(json: string): void {
    this.#connection.send(json);
  }

  room(): Promise<void> {
    return this.#connection.room();
  }

  done(): void {
    this.#trace.end({}, null);
    this.#connection.ended(this.#id, JSON.stringify({ id: this.#id, type: "done" }));
  }

  fail(error: ApiError): void {
    this.#trace.end({}, error.code);
    this.#connection.failed(this.#id, error);
  }
}
