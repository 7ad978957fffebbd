import { listAdapters, loadAdapter, unloadAdapter } from "../api/adapters.js";
import { chat } from "../api/chat.js";
import { completions } from "../api/completions.js";
import type { ApiContext } from "../api/context.js";
import { embeddings } from "../api/embeddings.js";
import { type Client, type Endpoint, generate, parseJson } from "../api/endpoint.js";
import { readiness, requireContext } from "../api/health.js";
import { messagesError } from "../api/messages/errors.js";
import { countTokens, messages } from "../api/messages/messages.js";
import { listModels, oneModel } from "../api/models.js";
import { responses } from "../api/responses/responses.js";
import { invalid, type JsonObject } from "../api/schema.js";
import { detokenize, tokenize } from "../api/tokenize.js";
import { ApiError, toApiError } from "../errors.js";
import { onBillOf } from "./account.js";
import { ApiKeys } from "./auth.js";
import { CorsPolicy } from "./cors.js";
import type { ServerOptions } from "./options.js";
import { whyNotListening } from "./port-probe.js";
import { Exchange, JSON_TYPE } from "./request.js";
import { EventStream } from "./sse.js";
import { loadUws, type UwsListenSocket, type UwsRequest, type UwsResponse } from "./uws.js";
import { WebSocketEndpoint } from "./websocket.js";

export interface Server {
  /** Resolves to the port. */
  listen(): Promise<number>;
  /** Takes no more connections and requests; resolves when the running ones are answered. */
  drain(): Promise<void>;
  /** Drops what is left. */
  close(): void;
}

/** An endpoint that takes a JSON body and answers at once. */
type Command = (
  body: JsonObject,
  context: ApiContext,
  unknownFields: (names: readonly string[]) => void,
  /** Aborted when nobody waits for the answer any more. */
  gone: AbortSignal,
) => Promise<object>;

type Handler = (exchange: Exchange) => void | Promise<void>;

interface Route {
  readonly path: string;
  readonly method: "get" | "post";
  readonly handler: Handler;
  /** Bodies of errors where they are not OpenAI's. */
  readonly errorBody?: (error: ApiError) => object;
}

const MODEL_PATH = "/v1/models/";
const STREAM_PATH = "/v1/stream";
const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export function createServer(options: ServerOptions): Server {
  return new HttpServer(options);
}

class HttpServer implements Server {
  readonly #options: ServerOptions;
  readonly #uws = loadUws();
  readonly #app = this.#uws.App();
  readonly #keys: ApiKeys;
  readonly #cors: CorsPolicy;
  readonly #sockets: WebSocketEndpoint;
  readonly #notedFields = new Set<string>();
  #listening: UwsListenSocket | null = null;
  #open = 0;
  #drained: (() => void) | null = null;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#keys = new ApiKeys(options.apiKeys);
    this.#cors = new CorsPolicy(options.corsOrigin);
    this.#sockets = new WebSocketEndpoint({
      limits: options.limits,
      context: () => requireContext(options.lifecycle()),
      admit: (exchange, origin, host) => this.#admitSocket(exchange, origin, host),
      timeoutMs: (exchange) => this.#timeoutMs(exchange),
      exchange: (response, request) => this.#exchange(response, request),
      unknownFields: (names) => this.#noteFields(names),
      held: options.held,
      log: options.log,
    });
    this.#app.ws(STREAM_PATH, this.#sockets.behavior);
    for (const route of this.#routes()) {
      this.#app.any(route.path, (response, request) => this.#dispatch(route, response, request));
    }
    this.#app.any("/*", (response, request) => this.#dispatch(null, response, request));
  }

  listen(): Promise<number> {
    const { host, port } = this.#options;
    return new Promise((resolve, reject) => {
      this.#app.listen(host, port, this.#uws.LIBUS_LISTEN_EXCLUSIVE_PORT, (socket) => {
        if (socket === false) {
          whyNotListening(host, port).then((reason) =>
            reject(new Error(`cannot listen on ${host}:${port}: ${reason}`)),
          );
          return;
        }
        this.#listening = socket;
        resolve(this.#uws.us_socket_local_port(socket));
      });
    });
  }

  async drain(): Promise<void> {
    this.#stopListening();
    const answered = new Promise<void>((resolve) => {
      this.#drained = resolve;
      if (this.#open === 0) resolve();
    });
    await Promise.all([answered, this.#sockets.drain()]);
  }

  close(): void {
    this.#stopListening();
    this.#app.close();
  }

  #stopListening(): void {
    if (this.#listening !== null) this.#uws.us_listen_socket_close(this.#listening);
    this.#listening = null;
  }

  #routes(): Route[] {
    const { lifecycle, metricsText, version } = this.#options;
    const context = () => requireContext(lifecycle());
    const ready: Handler = (exchange) => {
      const { status, body } = readiness(lifecycle());
      exchange.json(status, body);
    };
    return [
      {
        path: "/livez",
        method: "get",
        handler: (exchange) => exchange.json(200, { status: "ok" }),
      },
      { path: "/readyz", method: "get", handler: ready },
      { path: "/health", method: "get", handler: ready },
      { path: "/version", method: "get", handler: (exchange) => exchange.json(200, { version }) },
      {
        path: "/metrics",
        method: "get",
        handler: async (exchange) => exchange.send(200, METRICS_TYPE, await metricsText()),
      },
      {
        path: "/v1/models",
        method: "get",
        handler: (exchange) => exchange.json(200, listModels(context())),
      },
      {
        path: `${MODEL_PATH}*`,
        method: "get",
        handler: (exchange) => exchange.json(200, oneModel(modelName(exchange.path), context())),
      },
      {
        path: "/v1/adapters",
        method: "get",
        handler: (exchange) => exchange.json(200, listAdapters(context())),
      },
      {
        path: "/v1/load_lora_adapter",
        method: "post",
        handler: (exchange) => this.#command(loadAdapter, exchange, context()),
      },
      {
        path: "/v1/unload_lora_adapter",
        method: "post",
        handler: (exchange) => this.#command(unloadAdapter, exchange, context()),
      },
      {
        path: "/v1/completions",
        method: "post",
        handler: (exchange) => this.#generate(completions, exchange, context()),
      },
      {
        path: "/v1/chat/completions",
        method: "post",
        handler: (exchange) => this.#generate(chat, exchange, context()),
      },
      {
        path: "/v1/embeddings",
        method: "post",
        handler: (exchange) => this.#command(embeddings, exchange, context()),
      },
      {
        path: "/v1/responses",
        method: "post",
        handler: (exchange) => this.#generate(responses, exchange, context()),
      },
      {
        path: "/v1/messages",
        method: "post",
        handler: (exchange) => this.#generate(messages, exchange, context()),
        errorBody: messagesError,
      },
      {
        path: "/v1/messages/count_tokens",
        method: "post",
        handler: (exchange) => this.#command(countTokens, exchange, context()),
        errorBody: messagesError,
      },
      {
        path: "/tokenize",
        method: "post",
        handler: (exchange) => this.#command(tokenize, exchange, context()),
      },
      {
        path: "/detokenize",
        method: "post",
        handler: (exchange) => this.#command(detokenize, exchange, context()),
      },
      {
        path: STREAM_PATH,
        method: "get",
        handler: (exchange) => exchange.error(new ApiError("upgrade_required")),
      },
    ];
  }

  #dispatch(route: Route | null, response: UwsResponse, request: UwsRequest): void {
    const requestedHeaders = request.getHeader("access-control-request-headers");
    const exchange = this.#exchange(response, request);
    if (route?.errorBody !== undefined) exchange.errorBody = route.errorBody;
    this.#answer(route, exchange, requestedHeaders).catch((error: unknown) =>
      this.#fail(exchange, error),
    );
  }

  /** Runs up to the handler's own first wait within uWS' callback, as reading a body needs. */
  async #answer(route: Route | null, exchange: Exchange, requestedHeaders: string): Promise<void> {
    const { method } = exchange;
    const allowed = route === null ? "OPTIONS" : allowedMethods(route.method);
    if (method === "options") {
      exchange.empty(204, this.#cors.preflight(allowed, requestedHeaders));
      return;
    }
    this.#admit(exchange);
    if (route === null) {
      const message = `There is nothing at ${exchange.path}.`;
      throw new ApiError("not_found", { message });
    }
    const asked = method === "head" ? "get" : method;
    if (asked !== route.method) {
      const message = `${exchange.path} takes ${allowed}, not ${method.toUpperCase()}.`;
      exchange.error(new ApiError("method_not_allowed", { message }), [["Allow", allowed]]);
      return;
    }
    await route.handler(exchange);
  }

  async #command(command: Command, exchange: Exchange, context: ApiContext): Promise<void> {
    const timeoutMs = this.#timeoutMs(exchange);
    const text = await exchange.body(this.#options.limits);
    const noteFields = (names: readonly string[]) => this.#noteFields(names);
    const gone = new AbortController();
    exchange.onAborted(() => gone.abort(new ApiError("request_timeout")));
    const late = () => gone.abort(new ApiError("deadline_exceeded"));
    const deadline = timeoutMs === null ? undefined : setTimeout(late, timeoutMs);
    try {
      const billed = onBillOf(exchange.account, context);
      exchange.json(200, await command(parseJson(text), billed, noteFields, gone.signal));
    } finally {
      clearTimeout(deadline);
    }
  }

  async #generate(endpoint: Endpoint, exchange: Exchange, context: ApiContext): Promise<void> {
    const { limits } = this.#options;
    const timeoutMs = this.#timeoutMs(exchange);
    const text = await exchange.body(limits);
    const client: Client = {
      get gone() {
        return exchange.closed;
      },
      chunks: () =>
        new EventStream(exchange, endpoint.framing, limits.waitingBytes, (error) =>
          this.#log(exchange, error),
        ),
      whole: () => ({
        body: (json) => exchange.send(200, JSON_TYPE, json),
        fail: (error) => this.#fail(exchange, error),
      }),
      timeoutMs,
      unknownFields: (names) => this.#noteFields(names),
    };
    const id = endpoint.idPrefix + exchange.requestId;
    const began = performance.now();
    const billed = onBillOf(exchange.account, context);
    const starting = generate(endpoint, parseJson(text), id, billed, client);
    this.#options.held("request", (performance.now() - began) / 1000);
    const run = await starting;
    if (run === null) return;
    if (exchange.closed) run.cancel();
    else exchange.onAborted(() => run.cancel());
  }

  #admit(exchange: Exchange): void {
    if (exchange.path.startsWith("/v1/") || exchange.method === "post") {
      exchange.account = this.#keys.check(exchange.authorization);
    }
    if (this.#drained !== null) throw new ApiError("draining");
  }

  #admitSocket(exchange: Exchange, origin: string, host: string): void {
    if (!this.#cors.allowsSocket(origin, host)) throw new ApiError("origin_not_allowed");
    this.#admit(exchange);
  }

  /** The shorter of the client's time limit and the server's. */
  #timeoutMs({ timeout }: Exchange): number | null {
    const { requestMs } = this.#options.limits;
    if (timeout === "") return requestMs;
    const asked = /^\d{1,6}(\.\d{1,9})?$/.test(timeout) ? 1000 * Number(timeout) : 0;
    if (asked > 0) return Math.min(asked, requestMs ?? asked);
    throw invalid("X-Request-Timeout", "a number of seconds from 0.001 to 999999", timeout);
  }

  #exchange(response: UwsResponse, request: UwsRequest): Exchange {
    this.#open++;
    return new Exchange(response, request, this.#cors.headers, (exchange) => {
      const { requestId, method, path, status, started, account } = exchange;
      const ms = Math.round(performance.now() - started);
      const client = account?.name;
      this.#options.log.debug({ requestId, client, method, path, status, ms }, "answered");
      if (--this.#open === 0) this.#drained?.();
    });
  }

  #fail(exchange: Exchange, error: unknown): void {
    const known = toApiError(error);
    exchange.error(known);
    this.#log(exchange, known);
  }

  /** Faults of the server; those of clients are told to them alone. */
  #log({ requestId, account, path }: Exchange, error: ApiError): void {
    if (error.status !== 500) return;
    const facts = { requestId, client: account?.name, path, err: error.cause ?? error };
    this.#options.log.error(facts, error.message);
  }

  /** Once per name; a client that invents names must not fill the log or the memory. */
  #noteFields(names: readonly string[]): void {
    for (const name of names) {
      if (this.#notedFields.has(name) || this.#notedFields.size >= 100) continue;
      this.#notedFields.add(name);
      this.#options.log.warn(
        { field: name.slice(0, 100) },
        "a request has a field that is unknown",
      );
    }
  }
}

function allowedMethods(method: Route["method"]): string {
  return method === "get" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
}

function modelName(path: string): string {
  try {
    return decodeURIComponent(path.slice(MODEL_PATH.length));
  } catch {
    throw new ApiError("not_found", { message: `${path} is not a valid URL.` });
  }
}
