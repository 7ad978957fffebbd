import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { ApiContext, Lifecycle } from "../src/api/context.js";
import { type FakeGenerator, type FakeOptions, fakeContext } from "../src/engine/fake.js";
import { ApiError, ERRORS, type ErrorCode } from "../src/errors.js";
import type { ApiKey } from "../src/http/auth.js";
import { DEFAULT_LIMITS, type ServerOptions } from "../src/http/options.js";
import { apiKey, post, RawClient, serve, until } from "./harness.js";
import {
  type Answer,
  type Body,
  check,
  INVALID,
  OF_LOADED_ADAPTERS,
  read,
  SERVER,
  seen,
} from "./support/wire-error.js";

// Every error as a client meets it, word for word where clients match on words.

async function raw(client: RawClient): Promise<Answer> {
  await until(() => client.received.includes("\r\n\r\n{"), "an answer");
  const [head = "", body = ""] = client.received.split("\r\n\r\n", 2);
  const [first = "", ...lines] = head.split("\r\n");
  client.socket.destroy();
  const headers = new Headers(lines.map((line) => line.split(": ", 2) as [string, string]));
  return { status: Number(first.split(" ")[1]), body: JSON.parse(body) as Body, headers };
}

const completion = { model: "fake", prompt: "x", max_tokens: 5 };
const hello = [{ role: "user", content: "hi" }];

test("what clients do wrong", async (t) => {
  const { url, port } = await serve(t, {
    options: { corsOrigin: "http://a.test", limits: { ...DEFAULT_LIMITS, bodyIdleMs: 60 } },
  });
  const ask = async (path: string, body: unknown) => read(await post(url + path, body));
  const complete = (fields: object) => ask("/v1/completions", { ...completion, ...fields });

  check("invalid_json", await ask("/v1/completions", "{"), [
    400,
    INVALID,
    null,
    null,
    /^We could not parse the JSON body of your request\./,
  ]);
  check("invalid_parameter", await complete({ temperature: -1 }), [
    400,
    INVALID,
    "temperature",
    "invalid_parameter",
    /^temperature must be a number from 0 to 2, not -1\.$/,
  ]);
  check("not_supported", await complete({ suffix: "end" }), [
    400,
    INVALID,
    "suffix",
    "not_supported",
    /^suffix is not supported by this server\.$/,
  ]);
  check("context_length_exceeded", await complete({ max_tokens: 600 }), [
    400,
    INVALID,
    "prompt",
    "context_length_exceeded",
    /^This model's maximum context length is 512 tokens\. However, you requested 602 tokens \(2 in the prompt, 600 in the completion\)\./,
  ]);
  check("model_not_found", await complete({ model: "x" }), [
    404,
    INVALID,
    "model",
    "model_not_found",
    /^The model `x` does not exist\. GET \/v1\/models lists those that do\.$/,
  ]);
  check("not_found", await ask("/v1/engines", {}), [
    404,
    INVALID,
    null,
    "not_found",
    /^There is nothing at \/v1\/engines\.$/,
  ]);
  check("method_not_allowed", await read(await fetch(`${url}/v1/completions`)), [
    405,
    INVALID,
    null,
    "method_not_allowed",
    /^\/v1\/completions takes POST, OPTIONS, not GET\.$/,
    { allow: "POST, OPTIONS" },
  ]);
  check("upgrade_required", await read(await fetch(`${url}/v1/stream`)), [
    426,
    INVALID,
    null,
    "upgrade_required",
    /speaks WebSocket only/,
  ]);
  const upgrade =
    "GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nOrigin: http://b.test\r\n\r\n";
  check("origin_not_allowed", await raw(new RawClient(port).send(upgrade)), [
    403,
    INVALID,
    null,
    "origin_not_allowed",
    /--cors-origin/,
  ]);
  check("request_timeout", await raw(new RawClient(port).post("/v1/completions", "{", 100)), [
    408,
    INVALID,
    null,
    "request_timeout",
    /did not arrive in time/,
  ]);
  check("content_too_large", await ask("/v1/completions", " ".repeat(9 << 20)), [
    413,
    INVALID,
    null,
    "content_too_large",
    /is larger than 8388608 bytes\.$/,
  ]);
});

test("a conversation that the model's template refuses", async (t) => {
  const message = "The model's chat template refuses these messages: no system";
  const refuses = (generator: FakeGenerator): ApiContext => {
    const context = fakeContext(generator);
    const render = () => {
      throw new ApiError("invalid_messages", { message, param: "messages" });
    };
    return { ...context, chatTemplate: { toolFormat: null, render } };
  };
  const { url } = await serve(t, { context: refuses });
  const body = { model: "fake", messages: hello };
  check("invalid_messages", await read(await post(`${url}/v1/chat/completions`, body)), [
    400,
    INVALID,
    "messages",
    "invalid_messages",
    /: no system$/,
  ]);
});

test("keys and what they may use", async (t) => {
  const limited = (name: string, limits: ApiKey["limits"]): ApiKey => ({
    name,
    key: name,
    admin: false,
    limits,
  });
  const { url } = await serve(t, {
    reply: () => "x",
    options: {
      apiKeys: [
        apiKey("k"),
        limited("requests", { requests_per_minute: 1 }),
        limited("tokens", { tokens_per_minute: 1 }),
        limited("quota", { tokens_per_day: 1 }),
      ],
    },
  });
  const ask = (key?: string) =>
    post(
      `${url}/v1/completions`,
      completion,
      key === undefined ? {} : { authorization: `Bearer ${key}` },
    );
  const second = async (key: string) => {
    assert.equal((await ask(key)).status, 200);
    return read(await ask(key));
  };
  check("missing_api_key", await read(await ask()), [
    401,
    INVALID,
    null,
    null,
    /^You didn't provide an API key\./,
    { "www-authenticate": "Bearer" },
  ]);
  check("invalid_api_key", await read(await ask("wrong")), [
    401,
    INVALID,
    null,
    "invalid_api_key",
    /^Incorrect API key provided\.$/,
    { "www-authenticate": "Bearer" },
  ]);
  const path = `${url}/v1/load_lora_adapter`;
  check("admin_required", await read(await post(path, {}, { authorization: "Bearer quota" })), [
    403,
    INVALID,
    null,
    "admin_required",
    /^This API key may not manage adapters: it lacks the scope "admin"\.$/,
  ]);
  check("rate_limit_exceeded", await second("requests"), [
    429,
    "requests",
    null,
    "rate_limit_exceeded",
    /^The limit of 1 requests per minute for the API key "requests" is reached; try again in 60 s\.$/,
    { "retry-after": "60" },
  ]);
  const tokens = await second("tokens");
  check("token_rate_limit_exceeded", tokens, [
    429,
    "tokens",
    null,
    "rate_limit_exceeded",
    /^The limit of 1 tokens per minute/,
  ]);
  const quota = await second("quota");
  check("insufficient_quota", quota, [
    429,
    "insufficient_quota",
    null,
    "insufficient_quota",
    /^The limit of 1 tokens per day/,
  ]);
  for (const { headers } of [tokens, quota]) {
    assert.match(headers.get("retry-after") ?? "", /^[1-9]\d*$/);
  }
});

test("what fails in the server", async (t) => {
  const failing = async (setup: FakeOptions, model = "fake", headers = {}) => {
    const { url } = await serve(t, setup);
    return read(await post(`${url}/v1/completions`, { ...completion, model }, headers));
  };
  const failure = (code: ErrorCode) =>
    failing({ failure: { after: 0, code, message: "the engine's words" } }, "tuned");
  const expected: Partial<Record<ErrorCode, readonly [status: number, message: RegExp]>> = {
    adapter_failed: [500, /^The adapter "tuned" could not be used\.$/],
    not_finite: [500, /^The model "tuned" computed a value that is not finite/],
    engine_failed: [500, /^the engine's words$/],
  };
  for (const [code, [status, message]] of Object.entries(expected)) {
    const row = code as ErrorCode;
    check(row, await failure(row), [status, SERVER, null, code, message]);
  }
  check("grammar_failed", await failure("grammar_failed"), [
    400,
    INVALID,
    null,
    "grammar_failed",
    /^the engine's words$/,
  ]);
  check("adapter_memory_full", await failure("adapter_memory_full"), [
    503,
    SERVER,
    null,
    "adapter_memory_full",
    /^the engine's words$/,
    { "retry-after": "10" },
  ]);
  check("overloaded", await failing({ capacity: 0 }), [
    503,
    SERVER,
    null,
    "overloaded",
    /^The server's queue is full; try again later\.$/,
    { "retry-after": "1" },
  ]);
  const slow = await failing({ startDelayMs: 1000 }, "fake", { "x-request-timeout": "0.03" });
  check("deadline_exceeded", slow, [
    504,
    SERVER,
    null,
    "deadline_exceeded",
    /^The request was not complete within its time limit\.$/,
  ]);
});

test("a server that is not ready, or not any more", async (t) => {
  const lives: readonly (readonly [
    ErrorCode,
    Omit<Lifecycle, "context">,
    RegExp,
    string | null,
  ])[] = [
    [
      "loading",
      { phase: "loading", progress: 0.5, detail: "weights" },
      /^The model is still loading \(50%, weights\)\.$/,
      "2",
    ],
    [
      "engine_stopped",
      { phase: "failed", progress: 1, detail: "out of memory" },
      /^The engine has stopped: out of memory$/,
      null,
    ],
  ];
  for (const [code, life, message, retryAfter] of lives) {
    const lifecycle = () => ({ ...life, context: null });
    const { url } = await serve(t, { options: { lifecycle } satisfies Partial<ServerOptions> });
    const answer = await read(await post(`${url}/v1/completions`, completion));
    check(code, answer, [503, SERVER, null, code, message]);
    assert.equal(answer.headers.get("retry-after"), retryAfter);
  }
  const { server, port } = await serve(t, { reply: () => "x".repeat(99), tokenDelayMs: 20 });
  const busy = new RawClient(port).post("/v1/completions", JSON.stringify(completion));
  const kept = new RawClient(port).send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
  await until(() => kept.received !== "", "its connection is open");
  kept.received = "";
  const drained = server.drain();
  check("draining", await raw(kept.post("/v1/completions", JSON.stringify(completion))), [
    503,
    SERVER,
    null,
    "draining",
    /^The server is shutting down\.$/,
    { "retry-after": "1" },
  ]);
  await drained;
  busy.socket.destroy();
});

test("an adapter that is still being loaded", async (t) => {
  const loads = (generator: FakeGenerator): ApiContext => {
    const context = fakeContext(generator, { adapterWaitMs: 20 });
    const load = { name: "new", root: "/a", progress: 0.4, ended: new Promise<void>(() => {}) };
    const loading = (name: string) => (name === "new" ? load : undefined);
    return { ...context, adapters: { ...context.adapters, loading } };
  };
  const { url } = await serve(t, { context: loads });
  const answer = await read(await post(`${url}/v1/completions`, { ...completion, model: "new" }));
  check("adapter_loading", answer, [
    503,
    SERVER,
    "model",
    "adapter_loading",
    /^The adapter `new` is still being loaded \(40%\); try again later\.$/,
    { "retry-after": "2" },
  ]);
});

test("no error of the table is left out above, but for those that take a running engine", () => {
  const left = Object.keys(ERRORS).filter((code) => !seen.has(code as ErrorCode));
  assert.deepEqual(left.sort(), OF_LOADED_ADAPTERS);
});

test("docs/api.md tells when each status is answered, and of no other", () => {
  const document = readFileSync(new URL("../../docs/api.md", import.meta.url), "utf8");
  const section = /^## Errors\n(.*?)^## /ms.exec(document)?.[1] ?? "";
  const rows = [...section.matchAll(/^\| (\d{3}(?:, \d{3})*) \|/gm)];
  const told = rows.flatMap(([, statuses = ""]) => statuses.split(", ").map(Number));
  const known = new Set(Object.values(ERRORS).map(({ status }) => status));
  assert.deepEqual(told.sort(), [...known].sort());
});
