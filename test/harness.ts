import { connect, type Socket } from "node:net";
import type { TestContext } from "node:test";
import OpenAI from "openai";
import type { ApiContext } from "../src/api/context.js";
import { FakeGenerator, type FakeOptions, fakeContext } from "../src/engine/fake.js";
import type { ApiKey } from "../src/http/auth.js";
import type { ServerOptions } from "../src/http/options.js";
import { createServer, type Server } from "../src/http/server.js";
import { plainServer } from "./support/server-options.js";

/** A server on a free port in front of the fake model; closed when the test ends. */
export interface TestServer {
  readonly server: Server;
  readonly port: number;
  readonly url: string;
  readonly generator: FakeGenerator;
  readonly client: OpenAI;
  readonly logged: { readonly fields: object; readonly message: string }[];
}

export interface Setup extends FakeOptions {
  readonly context?: (generator: FakeGenerator) => ApiContext;
  readonly options?: Partial<ServerOptions>;
}

export async function serve(test: TestContext, setup: Setup = {}): Promise<TestServer> {
  const generator = new FakeGenerator(setup);
  const context = setup.context?.(generator) ?? fakeContext(generator);
  const logged: TestServer["logged"] = [];
  const log = (fields: object, message: string) => {
    logged.push({ fields, message });
  };
  const server = createServer({
    ...plainServer(context),
    metricsText: () => "smore_test 1\n",
    version: "1.2.3",
    log: { debug: () => {}, warn: log, error: log },
    ...setup.options,
  });
  const port = await server.listen();
  test.after(() => server.close());
  const scheme = setup.options?.tls ? "https" : "http";
  const url = `${scheme}://127.0.0.1:${port}`;
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "test-key", maxRetries: 0 });
  return { server, port, url, generator, client, logged };
}

/** A key without limits. */
export function apiKey(key: string): ApiKey {
  return { name: `the holder of ${key}`, key, admin: true, limits: {} };
}

/** The fake model with room for long answers. */
export function wideContext(generator: FakeGenerator): ApiContext {
  return fakeContext(generator, { maxModelLen: 1 << 20 });
}

export function post(url: string, body: unknown, headers: Record<string, string> = {}) {
  return fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

/** The `data:` payloads of a stream, in order; throws when the framing is not exactly as it should be. */
export function payloads(stream: string): string[] {
  if (!stream.endsWith("\n\n")) throw new Error("the stream does not end with an empty line");
  return stream
    .slice(0, -2)
    .split("\n\n")
    .map((event) => {
      if (!event.startsWith("data: ") || event.includes("\n")) throw new Error(`event: ${event}`);
      return event.slice("data: ".length);
    });
}

/** A bare TCP connection: what a client does that no library would do. */
export class RawClient {
  readonly socket: Socket;
  received = "";
  closed = false;

  constructor(port: number) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.on("data", (data) => {
      this.received += data.toString("latin1");
    });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.closed = true;
    });
  }

  send(text: string): this {
    this.socket.write(text);
    return this;
  }

  post(path: string, body: string, length = Buffer.byteLength(body)): this {
    return this.send(
      `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n${body}`,
    );
  }
}

/** Waits until a process has printed this: its log comes by another pipe than its banner. */
export function printed(output: () => string, pattern: RegExp): Promise<void> {
  return until(() => pattern.test(output()), `${pattern} is printed`);
}

/** Waits until `holds`; fails after `ms`. */
export async function until(holds: () => boolean, what: string, ms = 5_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`timed out: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
