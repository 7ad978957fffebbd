import { parseArgs } from "node:util";
import type { Lifecycle } from "../../src/api/context.js";
import { fakeContext } from "../../src/engine/fake.js";
import { DEFAULT_LIMITS } from "../../src/http/options.js";
import { createServer } from "../../src/http/server.js";
import type {
  GenerateRequest,
  Generation,
  Generator,
  Reservation,
} from "../../src/scheduler/request.js";
import { usageText } from "./usage.js";

/** A process with the whole HTTP side in front of an engine that costs nothing: a token for every stream in each turn. */

const { values } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string" },
    streams: { type: "string", default: "1" },
  },
});

const TOKEN = 97;

interface Running {
  readonly request: GenerateRequest;
  tokens: number;
}

class Turns implements Generator {
  #running: Running[] = [];
  #waiting: GenerateRequest[] = [];
  #turning = false;

  reserve(): Reservation {
    return { release: () => {} };
  }

  submit(request: GenerateRequest): Generation {
    this.#waiting.push(request);
    if (this.#waiting.length >= Number(values.streams)) {
      for (const waiting of this.#waiting.splice(0)) {
        this.#running.push({ request: waiting, tokens: 0 });
      }
      if (!this.#turning) setImmediate(() => this.#turn());
      this.#turning = true;
    }
    return {
      cachedTokens: 0,
      cancel: () => {
        this.#waiting = this.#waiting.filter((other) => other !== request);
        this.#running = this.#running.filter((other) => other.request !== request);
      },
    };
  }

  #turn(): void {
    const running = this.#running;
    for (const stream of running) {
      stream.request.onEvent({ kind: "token", token: TOKEN, logprob: null, routes: null });
      stream.tokens += 1;
    }
    const isDone = ({ request, tokens }: Running) => tokens >= request.maxTokens;
    for (const { request, tokens: completionTokens } of running.filter(isDone)) {
      const last = { reason: "length", stopToken: null, routes: null, completionTokens } as const;
      request.onEvent({ kind: "finish", ...last });
      this.#running = this.#running.filter((other) => other.request !== request);
    }
    this.#turning = this.#running.length > 0;
    if (this.#turning) setImmediate(() => this.#turn());
  }
}

const context = fakeContext(new Turns(), { maxModelLen: 1 << 20 });
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
  metricsText: usageText,
  version: "0",
  pages: null,
  log: { debug: () => {}, warn: () => {}, error: () => {} },
});
await server.listen();
