import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { connect } from "node:tls";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import type { TlsFiles } from "../src/http/tls.js";
import { RawClient, serve, until } from "./harness.js";
import { exitOf, serve as serveCommand } from "./support/command.js";

/** HTTPS and WSS over real sockets, and certificates that are renewed while streams run. */

type Name = "first" | "second";

function fixture(name: Name): TlsFiles {
  const file = (end: string) =>
    fileURLToPath(new URL(`../../test/fixtures/tls/${name}.${end}`, import.meta.url));
  return { cert: file("crt"), key: file("key") };
}

const ca = [readFileSync(fixture("first").cert), readFileSync(fixture("second").cert)];

/** Whose certificate a new connection gets; what is being connected while the old socket closes is reset. */
async function subject(port: number, tries = 3): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port, ca });
  try {
    await once(socket, "secureConnect");
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, "ECONNRESET");
    assert.ok(tries > 1);
    return await subject(port, tries - 1);
  }
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return String(CN);
}

/** Both certificates may be met until the old socket is closed. */
async function becomes(port: number, wanted: string): Promise<void> {
  for (let tries = 0; (await subject(port)) !== wanted; tries++) {
    assert.ok(tries < 1000, `${wanted} is never met`);
  }
}

async function get(url: string, body: object | null = null): Promise<string> {
  const asked = request(url, { ca, agent: false, method: body === null ? "GET" : "POST" });
  asked.end(body === null ? undefined : JSON.stringify(body));
  const [response] = await once(asked, "response");
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += chunk;
  return text;
}

/** Files of its own that a test may overwrite. */
function writableFiles(test: TestContext, name: Name): TlsFiles & { become(name: Name): void } {
  const folder = mkdtempSync(join(tmpdir(), "smore-tls-"));
  test.after(() => rmSync(folder, { recursive: true }));
  const files = { cert: join(folder, "tls.crt"), key: join(folder, "tls.key") };
  const become = (wanted: Name) => {
    copyFileSync(fixture(wanted).cert, files.cert);
    copyFileSync(fixture(wanted).key, files.key);
  };
  become(name);
  return { ...files, become };
}

test("HTTPS and WSS are served, and plain HTTP is not", async (t) => {
  const { url, port } = await serve(t, { options: { tls: fixture("first") } });
  assert.equal(await get(`${url}/livez`), '{"status":"ok"}');
  const answer = await get(`${url}/v1/completions`, { model: "fake", prompt: "x" });
  assert.equal(JSON.parse(answer).object, "text_completion");

  const socket = new WebSocket(`wss://127.0.0.1:${port}/v1/stream`, { ca });
  const frames: string[] = [];
  socket.on("message", (data) => frames.push(String(data)));
  await once(socket, "open");
  socket.send(JSON.stringify({ id: 1, type: "completion", model: "fake", prompt: "x" }));
  await until(() => frames.at(-1) === '{"id":1,"type":"done"}', "the generation is done");
  socket.close();

  const plain = new RawClient(port).send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
  await until(() => plain.closed, "the plain connection is closed");
  assert.equal(plain.received.includes("200"), false);
});

test("a new certificate reaches new connections, and running streams go on", async (t) => {
  const { server, url, port } = await serve(t, {
    tokenDelayMs: 10,
    options: { tls: fixture("first") },
  });
  assert.equal(await subject(port), "first.test");
  const body = { model: "fake", prompt: "x", max_tokens: 20, ignore_eos: true, stream: true };
  const stream = get(`${url}/v1/completions`, body);
  const socket = new WebSocket(`wss://127.0.0.1:${port}/v1/stream`, { ca });
  await once(socket, "open");
  const facts = server.renewCertificate(fixture("second"));
  assert.equal(facts.subject, "CN=second.test");
  await becomes(port, "second.test");
  for (let i = 0; i < 20; i++) assert.equal(await subject(port), "second.test");
  const events = (await stream).split("\n\n");
  assert.equal(events.filter((event) => /"finish_reason":null/.test(event)).length, 20);
  assert.equal(events.at(-2), "data: [DONE]");
  socket.send(JSON.stringify({ id: 1, type: "completion", model: "fake", prompt: "x" }));
  assert.ok(await once(socket, "message"), "the WebSocket of the old certificate goes on");
  const drained = server.drain();
  const [code] = await once(socket, "close");
  assert.equal(code, 1001);
  await drained;
});

test("the port stays open while certificates change", async (t) => {
  const { server, port } = await serve(t, { options: { tls: fixture("first") } });
  for (let round = 0; round < 10; round++) {
    const asking = Array.from({ length: 8 }, () => subject(port));
    await asking[0];
    server.renewCertificate(fixture(round % 2 === 0 ? "second" : "first"));
    const seen = await Promise.all(asking);
    for (const name of seen) assert.match(name, /^(first|second)\.test$/);
  }
});

test("a port that another server has is not shared with it", async (t) => {
  const tls = fixture("first");
  const { port } = await serve(t, { options: { tls } });
  await assert.rejects(serve(t, { options: { tls, port } }), /: the port is in use; --port N /);
});

test("a pair that cannot be used is refused by a line that names the file, and the old one stays", async (t) => {
  const { server, port } = await serve(t, { options: { tls: fixture("first") } });
  const files = writableFiles(t, "second");
  copyFileSync(fixture("first").key, files.key);
  assert.throws(() => server.renewCertificate(files), /tls\.key: is not the key of .*tls\.crt$/);
  writeFileSync(files.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
  assert.throws(() => server.renewCertificate(files), /tls\.key: is no private key in PEM/);
  writeFileSync(files.cert, "");
  assert.throws(() => server.renewCertificate(files), /tls\.crt: is no certificate in PEM$/);
  rmSync(files.cert);
  assert.throws(() => server.renewCertificate(files), /tls\.crt: no such file or directory/);
  symlinkSync("/dev/zero", files.cert); // has no end
  assert.throws(() => server.renewCertificate(files), /tls\.crt: is not a regular file$/);
  assert.equal(await subject(port), "first.test");
});

test("the command renews its certificate on SIGHUP and when the files change", async (t) => {
  const files = writableFiles(t, "first");
  const { child, url, output } = await serveCommand(t, [
    ...["--tls-cert", files.cert, "--tls-key", files.key],
  ]);
  assert.match(url, /^https:/);
  const port = Number(new URL(url).port);
  assert.equal(await subject(port), "first.test");
  const lines = (message: string) => output().split(message).length - 1;

  files.become("second");
  child.kill("SIGHUP");
  await until(() => lines("the certificate is renewed") >= 1, "it is renewed at once");
  await becomes(port, "second.test");
  const { validTo } = new X509Certificate(readFileSync(fixture("second").cert));
  const ends = `smore_tls_certificate_end_seconds{subject="CN=second.test"} ${Date.parse(validTo) / 1000}`;
  assert.ok((await get(`${url}/metrics`)).split("\n").includes(ends), ends);

  writeFileSync(files.key, "half a key");
  await until(() => lines("the certificate stays as it is") === 1, "the change is noticed", 20_000);
  assert.match(output(), /"reason":".*tls\.key: is no private key/);
  assert.equal(await subject(port), "second.test");

  files.become("first");
  const renewed = lines("the certificate is renewed");
  await until(() => lines("the certificate is renewed") > renewed, "and the next one", 20_000);
  await becomes(port, "first.test");
});

test("a certificate without its key, or a pair that is none, is a wrong command line", async () => {
  const { cert } = fixture("first");
  const alone = await exitOf(["serve", "--tls-cert", cert]);
  assert.deepEqual(alone, { code: 2, output: "smore: --tls-cert needs --tls-key\n" });
  const { key } = fixture("second");
  const { code, output } = await exitOf(["serve", "--tls-cert", cert, "--tls-key", key]);
  assert.equal(code, 2);
  assert.match(output, /^smore: --tls-cert and --tls-key: .*second\.key: is not the key of .*\n$/);
});
