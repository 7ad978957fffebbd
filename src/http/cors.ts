import type { Header } from "./request.js";

/** Which web pages may call this server: none, one origin, or all ("*"). */
export class CorsPolicy {
  readonly #origin: string | null;
  /** Added to every answer. */
  readonly headers: readonly Header[];

  constructor(origin: string | null) {
    this.#origin = origin;
    this.headers =
      origin === null
        ? []
        : [
            ["Access-Control-Allow-Origin", origin],
            ["Access-Control-Expose-Headers", "X-Request-Id, Retry-After, traceparent, tracestate"],
            ...(origin === "*" ? [] : [["Vary", "Origin"] as const]),
          ];
  }

  /** Added to the answer of OPTIONS; `requested`: the headers that the page wants to send. */
  preflight(methods: string, requested: string): readonly Header[] {
    const allow: Header = ["Allow", methods];
    if (this.#origin === null) return [allow];
    return [
      allow,
      ["Access-Control-Allow-Methods", methods],
      [
        "Access-Control-Allow-Headers",
        requested === "" ? "Authorization, Content-Type" : requested,
      ],
      ["Access-Control-Max-Age", "86400"],
    ];
  }

  /**
   * Whether a page may open a WebSocket: browsers apply CORS to fetch only, so the server has to look
   * itself. Clients other than browsers send no origin.
   */
  allowsSocket(origin: string, host: string): boolean {
    if (origin === "" || this.#origin === "*" || origin === this.#origin) return true;
    return /^https?:\/\/(.*)$/.exec(origin)?.[1] === host;
  }
}
