import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import { whyNotListening } from "./port-probe.js";

test("one reason is named for a port that cannot be had", async (context) => {
  const other = createServer().listen(0, "127.0.0.1");
  context.after(() => other.close());
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  assert.equal(
    await whyNotListening("127.0.0.1", port),
    "the port is in use; --port N takes another one, 0 any that is free",
  );
  assert.match(await whyNotListening("192.0.2.1", 0), /^this machine has no such address; --host/);
  assert.match(await whyNotListening("no-such-host.invalid", 0), /host/);
});
