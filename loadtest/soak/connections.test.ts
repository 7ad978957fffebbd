import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { KeptConnections } from "./connections.js";

const ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** A server that meets the n-th request of its m-th connection, both from 0, as it is told. */
async function serve(
  t: TestContext,
  meet: (socket: Socket, connection: number, request: number) => void,
): Promise<KeptConnections> {
  let connections = 0;
  const server = createServer((socket) => {
    const connection = connections++;
    let requests = 0;
    socket.on("error", () => {});
    socket.on("data", () => meet(socket, connection, requests++));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return new KeptConnections(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
}

test("a request that met a kept connection's end is sent again over a new one, and counted", async (t) => {
  const client = await serve(t, (socket, connection, request) => {
    if (connection === 0 && request === 1) socket.resetAndDestroy();
    else socket.write(ANSWER);
  });
  for (const resent of [0, 1]) {
    assert.deepEqual(await client.post("/", "{}"), { status: 200, text: "ok" });
    assert.equal(client.resent, resent);
  }
});

test("a server that closes a new connection without an answer is at fault", async (t) => {
  const client = await serve(t, (socket) => socket.resetAndDestroy());
  await assert.rejects(client.get("/"), { code: "ECONNRESET" });
  assert.equal(client.resent, 0);
  const twice = await serve(t, (socket, connection, request) => {
    if (connection === 0 && request === 0) socket.write(ANSWER);
    else socket.resetAndDestroy();
  });
  assert.equal((await twice.get("/")).status, 200);
  await assert.rejects(twice.get("/"), { code: "ECONNRESET" });
  assert.equal(twice.resent, 1);
});

test("an answer that ends half-way is not asked for again", async (t) => {
  for (const part of [ANSWER.slice(0, 12), ANSWER.slice(0, -1)]) {
    const client = await serve(t, (socket, _, request) => {
      if (request === 0) socket.write(ANSWER);
      else socket.write(part, () => socket.destroy());
    });
    assert.equal((await client.get("/")).status, 200);
    await assert.rejects(client.get("/"));
    assert.equal(client.resent, 0);
  }
});
