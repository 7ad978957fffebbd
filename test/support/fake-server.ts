import { parseArgs } from "node:util";
import { FakeGenerator, fakeContext } from "../../src/engine/fake.js";
import { createServer } from "../../src/http/server.js";
import { plainServer } from "./server-options.js";

/** A process that serves the fake model, for tests of what starts servers: --host ADDRESS --port N. */

const { values } = parseArgs({
  options: { host: { type: "string", default: "127.0.0.1" }, port: { type: "string" } },
});
const context = fakeContext(new FakeGenerator());
const server = createServer({
  ...plainServer(context),
  host: values.host,
  port: Number(values.port),
});
await server.listen();
