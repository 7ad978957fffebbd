import { nativeModule } from "../../src/engine/engine.js";
import { FakeGenerator, fakeContext } from "../../src/engine/fake.js";
import { hearHolds } from "../../src/hold.js";
import { createServer } from "../../src/http/server.js";
import { Metrics } from "../../src/metrics/metrics.js";
import { fakeGrammars } from "./grammars.js";
import { plainServer } from "./server-options.js";

/** A process that serves the fake model and tells, by /metrics, what its callbacks take; it prints its port. */

const metrics = new Metrics();
hearHolds({
  heard: (callback, hold) => metrics.held(callback, hold),
  cpuSeconds: nativeModule().threadCpuSeconds,
});
const plain = fakeContext(new FakeGenerator(), { maxModelLen: 1 << 14 });
const context = { ...plain, grammars: fakeGrammars(plain) };
const server = createServer({ ...plainServer(context), metricsText: () => metrics.text() });
process.stdout.write(`${await server.listen()}\n`);
