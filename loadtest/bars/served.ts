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

class Turns implements Generator {
  readonly #running = new Map<GenerateRequest, number>();
  #waiting: GenerateRequest[] = [];
  #turning = false;

  reserve(): Reservation {
    return { release: () => {} };
  }

  submit(request: GenerateRequest): Generation {
    this.#waiting.push(request);
    if (this.#waiting.length >= Number(values.streams)) {
      for (const waiting of this.#waiting.splice(0)) this.#running.set(waiting, 0);
      if (!this.#turning) setImmediate(() => this.#turn());
      this.#turning = true;
    }
    return {
      cachedTokens: 0,
      cancel: () => {
        this.#waiting = this.#waiting.filter((other) => other !== request);
        this.#running.delete(request);
      },
    };
  }

  #turn(): void {
    for (const [request, tokens] of this.#running) {
      request.onEvent({ kind: "token", token: TOKEN, logprob: null, routes: null });
      this.#running.set(request, tokens + 1);
      if (tokens + 1 < request.maxTokens) continue;
      this.#running.delete(request);
      const completionTokens = tokens + 1;
      const last = { reason: "length", stopToken: null, routes: null, completionTokens } as const;
      request.onEvent({ kind: "finish", ...last });
    }
    this.#turning = this.#running.size > 0;
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
  held: () => {},
  refused: () => {},
  tracing: () => null,
  metricsText: usageText,
  version: "0",
  pages: null,
  log: { debug: () => {}, warn: () => {}, error: () => {} },
});
await server.listen();
