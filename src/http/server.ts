import { readBody } from "../api/body.js";
import type { ApiContext } from "../api/context.js";
import { type Client, type Endpoint, generate } from "../api/endpoint.js";
import { requireContext } from "../api/health.js";
import { invalid } from "../api/schema.js";
import { ApiError, toApiError } from "../errors.js";
import { entered } from "../hold.js";
import type { RequestTrace } from "../telemetry/request-trace.js";
import { ApiKeys } from "./auth.js";
import { clientContext } from "./client-context.js";
import { CorsPolicy } from "./cors.js";
import { Listener } from "./listener.js";
import type { ServerOptions } from "./options.js";
import { Exchange } from "./request.js";
import { type Command, nothingAt, ROUTES, type Route, STREAM_PATH } from "./routes.js";
import { EventStream } from "./sse.js";
import type { CertificateFacts, TlsFiles } from "./tls.js";
import { loadUws, type UwsApp, type UwsRequest, type UwsResponse } from "./uws.js";
import { WebSocketEndpoint } from "./websocket.js";

export interface Server {
  /** Resolves to the port. */
  listen(): Promise<number>;
  /** Connections from now on get what the files hold. Throws an Error of one line; all stays then as it is. */
  renewCertificate(files: TlsFiles): CertificateFacts;
  /** Takes no more connections and requests; resolves when the running ones are answered. */
  drain(): Promise<void>;
  /** Drops what is left. */
  close(): void;
}

export function createServer(options: ServerOptions): Server {
  return new HttpServer(options);
}

class HttpServer implements Server {
  readonly #options: ServerOptions;
  readonly #listener: Listener;
  readonly #keys: ApiKeys;
  readonly #cors: CorsPolicy;
  readonly #sockets: WebSocketEndpoint;
  readonly #notedFields = new Set<string>();
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
      unknownFields: (names, trace) => this.#noteFields(names, trace),
      refused: options.refused,
      tracing: options.tracing,
      log: options.log,
    });
    const { host, port, tls } = options;
    const route = (app: UwsApp) => this.#route(app);
    this.#listener = new Listener({ uws: loadUws(), host, port, tls, route });
  }

  #route(app: UwsApp): void {
    app.ws(STREAM_PATH, this.#sockets.behavior);
    for (const route of ROUTES) {
      app.any(route.path, (response, request) => this.#dispatch(route, response, request));
    }
    app.any("/*", (response, request) => this.#dispatch(null, response, request));
  }

  listen(): Promise<number> {
    return this.#listener.listen();
  }

  renewCertificate(files: TlsFiles): CertificateFacts {
    return this.#listener.renewCertificate(files);
  }

  async drain(): Promise<void> {
    this.#listener.stop();
    const answered = new Promise<void>((resolve) => {
      this.#drained = resolve;
      if (this.#open === 0) resolve();
    });
    await Promise.all([answered, this.#sockets.drain()]);
  }

  close(): void {
    this.#listener.close();
  }

  #dispatch(route: Route | null, response: UwsResponse, request: UwsRequest): void {
    entered(route?.callback ?? "request");
    const requestedHeaders = request.getHeader("access-control-request-headers");
    const exchange = this.#exchange(response, request);
    if (route?.errorBody !== undefined) exchange.errorBody = route.errorBody;
    if (route !== null && route.probe !== true) this.#record(route, exchange);
    this.#answer(route, exchange, requestedHeaders).catch((error: unknown) =>
      this.#fail(exchange, error),
    );
  }

  #record(route: Route, { method, path, trace, started }: Exchange): void {
    const tracing = this.#options.tracing();
    if (tracing === null) return;
    const verb = method.toUpperCase();
    trace.record(tracing, `${verb} ${route.path}`, started, {
      "http.request.method": verb,
      "http.route": route.path,
      "url.path": path,
    });
  }

  /** Runs up to the handler's own first wait within uWS' callback, as reading a body needs. */
  async #answer(route: Route | null, exchange: Exchange, requestedHeaders: string): Promise<void> {
    const { method } = exchange;
    const allowed = route === null ? "OPTIONS" : allowedMethods(route.method);
    if (method === "options") {
      exchange.empty(204, this.#cors.preflight(allowed, requestedHeaders));
      return;
    }
    this.#admit(exchange, route);
    if (route === null) {
      throw new ApiError("not_found", { message: nothingAt(exchange.path) });
    }
    const asked = method === "head" ? "get" : method;
    if (asked !== route.method) {
      const message = `${exchange.path} takes ${allowed}, not ${method.toUpperCase()}.`;
      exchange.error(new ApiError("method_not_allowed", { message }), [["Allow", allowed]]);
      return;
    }
    await this.#handle(route, exchange);
  }

  #handle(route: Route, exchange: Exchange): void | Promise<void> {
    if (route.kind === "answer") return route.answer(exchange, this.#options);
    const context = requireContext(this.#options.lifecycle());
    return route.kind === "command"
      ? this.#command(route.command, exchange, context)
      : this.#generate(route.endpoint, exchange, context);
  }

  async #command(command: Command, exchange: Exchange, context: ApiContext): Promise<void> {
    const timeoutMs = this.#timeoutMs(exchange);
    const body = await readBody(await exchange.body(this.#options.limits));
    const noteFields = (names: readonly string[]) => this.#noteFields(names, exchange.trace);
    const gone = new AbortController();
    exchange.onAborted(() => gone.abort(new ApiError("request_timeout")));
    const late = () => {
      entered("timer");
      gone.abort(new ApiError("deadline_exceeded"));
    };
    const deadline = timeoutMs === null ? undefined : setTimeout(late, timeoutMs);
    try {
      const { account, trace } = exchange;
      const sender = { account, trace, gone: gone.signal };
      const own = clientContext(sender, "embeddings", body, context);
      await exchange.answer(await command(body, own, noteFields, gone.signal, account));
    } finally {
      clearTimeout(deadline);
    }
  }

  async #generate(endpoint: Endpoint, exchange: Exchange, context: ApiContext): Promise<void> {
    const { limits } = this.#options;
    const timeoutMs = this.#timeoutMs(exchange);
    const body = await readBody(await exchange.body(limits));
    if (exchange.closed) return;
    const client: Client = {
      get gone() {
        return exchange.closed;
      },
      chunks: () =>
        new EventStream(exchange, endpoint.framing, limits.waitingBytes, (error) =>
          this.#log(exchange, error),
        ),
      whole: () => ({
        body: (answer) => exchange.answer(answer),
        fail: (error) => this.#fail(exchange, error),
      }),
      timeoutMs,
      unknownFields: (names) => this.#noteFields(names, exchange.trace),
    };
    const { account, trace } = exchange;
    const gone = new AbortController();
    exchange.onAborted(() => gone.abort(new ApiError("request_timeout")));
    const id = endpoint.idPrefix + trace.requestId;
    const sender = { account, trace, gone: gone.signal };
    const own = clientContext(sender, endpoint.operation, body, context);
    const run = await generate(endpoint, body, id, own, client);
    if (run === null) return;
    if (exchange.closed) run.cancel();
    else exchange.onAborted(() => run.cancel());
  }

  /** Who watches the server asks until its end. */
  #admit(exchange: Exchange, route: Route | null): void {
    if (exchange.path.startsWith("/v1/") || exchange.method === "post") {
      exchange.account = this.#keys.check(exchange.authorization, route?.admin === true);
    }
    if (this.#drained !== null && route?.probe !== true) throw new ApiError("draining");
  }

  #admitSocket(exchange: Exchange, origin: string, host: string): void {
    if (!this.#cors.allowsSocket(origin, host)) throw new ApiError("origin_not_allowed");
    this.#admit(exchange, null);
  }

  /** The shorter of the client's time limit and the server's. */
  #timeoutMs({ timeout }: Exchange): number | null {
    const { requestMs } = this.#options.limits;
    if (timeout === "") return requestMs;
    const asked = /^\d{1,6}(\.\d{1,9})?$/.test(timeout) ? 1000 * Number(timeout) : 0;
    if (asked >= 1) return Math.min(asked, requestMs ?? asked);
    throw invalid("X-Request-Timeout", "a number of seconds from 0.001 to 999999", timeout);
  }

  #exchange(response: UwsResponse, request: UwsRequest): Exchange {
    this.#open++;
    return new Exchange(response, request, this.#cors.headers, (exchange) => {
      const { trace, method, path, status, started, account, refusal } = exchange;
      const ms = Math.round(performance.now() - started);
      const client = account?.name;
      if (refusal !== null) this.#options.refused(refusal);
      const { requestId, traceId } = trace.facts;
      const why = refusal ?? undefined; // absent from the line
      const answer = { requestId, traceId, client, method, path, status, refusal: why, ms };
      this.#options.log.debug(answer, "answered");
      trace.end({ "http.response.status_code": status }, refusal);
      if (--this.#open === 0) this.#drained?.();
    });
  }

  #fail(exchange: Exchange, error: unknown): void {
    const known = toApiError(error);
    exchange.error(known);
    this.#log(exchange, known);
  }

  /** Faults of the server; those of clients are told to them alone. */
  #log({ trace, account, path }: Exchange, error: ApiError): void {
    if (error.status !== 500) return;
    const facts = { client: account?.name, path, err: error.cause ?? error };
    this.#options.log.error({ ...trace.facts, ...facts }, error.message);
  }

  /** Once per name; a client that invents names must not fill the log or the memory. */
  #noteFields(names: readonly string[], { facts }: RequestTrace): void {
    for (const name of names) {
      if (this.#notedFields.has(name) || this.#notedFields.size >= 100) continue;
      this.#notedFields.add(name);
      this.#options.log.warn(
        { ...facts, field: name.slice(0, 100) },
        "a request has a field that is unknown",
      );
    }
  }
}

function allowedMethods(method: Route["method"]): string {
  return method === "get" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
}
