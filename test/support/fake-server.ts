import { parseArgs } from "node:util";
import type { Lifecycle } from "../../src/api/context.js";
import { FakeGenerator, fakeContext } from "../../src/engine/fake.js";
import { DEFAULT_LIMITS } from "../../src/http/options.js";
import { createServer } from "../../src/http/server.js";

/** A process that serves the fake model, for tests of what starts servers: --host ADDRESS --port N. */

const { values } = parseArgs({
  options: { host: { type: "string", default: "127.0.0.1" }, port: { type: "string" } },
});
const context = fakeContext(new FakeGenerator());
const lifecycle: Lifecycle = { phase: "ready", progress: 1, detail: "", context };
const server = createServer({
  host: values.host,
  port: Number(values.port),
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
});
await server.listen();
