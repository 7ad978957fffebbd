import { nativeModule } from "../../src/engine/engine.js";
import { FakeGenerator, fakeContext } from "../../src/engine/fake.js";
import { hearHolds } from "../../src/hold.js";
import { DEFAULT_LIMITS } from "../../src/http/options.js";
import { createServer } from "../../src/http/server.js";
import { Metrics } from "../../src/metrics/metrics.js";
import { fakeGrammars } from "./grammars.js";

/** A process that serves the fake model and tells, by /metrics, what its callbacks take; it prints its port. */

const metrics = new Metrics();
hearHolds({
  heard: (callback, hold) => metrics.held(callback, hold),
  cpuSeconds: nativeModule().threadCpuSeconds,
});
const plain = fakeContext(new FakeGenerator(), { maxModelLen: 1 << 14 });
const context = { ...plain, grammars: fakeGrammars(plain) };
const server = createServer({
  host: "127.0.0.1",
  port: 0,
  tls: null,
  corsOrigin: null,
  apiKeys: [],
  limits: DEFAULT_LIMITS,
  lifecycle: () => ({ phase: "ready", progress: 1, detail: "", context }),
  refused: () => {},
  tracing: () => null,
  metricsText: () => metrics.text(),
  version: "0",
  pages: null,
  log: { debug: () => {}, warn: () => {}, error: () => {} },
});
process.stdout.write(`${await server.listen()}\n`);
