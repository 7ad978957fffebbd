import type { ApiContext, Lifecycle } from "../../src/api/context.js";
import { DEFAULT_LIMITS, type ServerOptions } from "../../src/http/options.js";

/** A server that is ready, on any free port, without keys, pages or a log: what tests change little of. */
export function plainServer(context: ApiContext): ServerOptions {
  const lifecycle: Lifecycle = { phase: "ready", progress: 1, detail: "", context };
  return {
    host: "127.0.0.1",
    port: 0,
    tls: null,
    corsOrigin: null,
    apiKeys: [],
    limits: DEFAULT_LIMITS,
    lifecycle: () => lifecycle,
    refused: () => {},
    tracing: () => null,
    metricsText: () => "",
    version: "0",
    pages: null,
    log: { debug: () => {}, warn: () => {}, error: () => {} },
  };
}
