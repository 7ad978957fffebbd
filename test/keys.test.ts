import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { WebSocket } from "ws";
import type { SentenceEncoder } from "../src/encoders/encoder.js";
import { type FakeGenerator, fakeContext } from "../src/engine/fake.js";
import type { AccountLimits } from "../src/http/account.js";
import { post, serve, until } from "./harness.js";
import { refusal } from "./support/command.js";

/** What a named key may do, what counts for its limits, and what is counted of those who are refused. */

const LONG_AGO = { name: "encoder", root: "/encoder", created: 0, maxTokens: 512, width: 2 };
const encoder: SentenceEncoder = {
  ...LONG_AGO,
  vocab: 10,
  dimensions: [],
  encode: async (inputs) => ({
    vectors: inputs.map(() => Float32Array.of(0, 1)),
    tokens: 3 * inputs.length,
  }),
};

function keyed(limits: AccountLimits) {
  return {
    context: (generator: FakeGenerator) => fakeContext(generator, { encoder }),
    options: { apiKeys: [{ name: "ana", key: "k", admin: false, limits }] },
  };
}

const BEARER = { authorization: "Bearer k" };

test("adapters are managed by keys with the scope admin alone", async (t) => {
  const { url } = await serve(t, {
    options: {
      apiKeys: [
        { name: "ana", key: "k", admin: false, limits: {} },
        { name: "eva", key: "boss", admin: true, limits: {} },
      ],
    },
  });
  for (const command of ["load_lora_adapter", "unload_lora_adapter"]) {
    const ask = (key: string) =>
      post(
        `${url}/v1/${command}`,
        { lora_name: "a", lora_path: "/a" },
        { authorization: `Bearer ${key}` },
      ).then(refusal);
    const { message, ...error } = await ask("k");
    assert.deepEqual(error, { status: 403, code: "admin_required", param: null });
    assert.match(message, /scope "admin"/);
    assert.equal((await ask("none")).code, "invalid_api_key");
    assert.match((await ask("boss")).code, /^adapter_/, "the command itself refuses");
  }
  const list = await fetch(`${url}/v1/adapters`, { headers: BEARER });
  assert.equal(list.status, 200);
});

test("whatever reads tokens counts for the limits of its key, by as many as it read", async (t) => {
  const messages = [{ role: "user", content: "hello" }];
  const calls: readonly [path: string, body: object, tokens: number][] = [
    ["/tokenize", { model: "fake", prompt: "abcd", add_special_tokens: false }, 4],
    ["/detokenize", { model: "fake", tokens: [97, 98, 99] }, 3],
    ["/v1/messages/count_tokens", { model: "fake", messages }, 1],
    ["/v1/embeddings", { model: "fake", input: [[1, 2, 3, 4, 5]] }, 5],
    ["/v1/embeddings", { model: "encoder", input: ["one", "two"] }, 6],
    ["/v1/completions", { model: "fake", prompt: [1, 2], max_tokens: 3 }, 5],
  ];
  for (const [path, body, tokens] of calls) {
    const ask = async (url: string) => {
      const response = await post(`${url}${path}`, body, BEARER);
      await response.text();
      return response.status;
    };
    const within = await serve(t, keyed({ tokens_per_day: tokens + 1000 }));
    assert.deepEqual([await ask(within.url), await ask(within.url)], [200, 200], path);
    // The count of a chat's tokens is its template's; of the others it is known here.
    const quota = path.endsWith("count_tokens") ? 1 : tokens;
    const spent = await serve(t, keyed({ tokens_per_day: quota }));
    assert.deepEqual([await ask(spent.url), await ask(spent.url)], [200, 429], path);
    if (quota > 1) {
      const spare = await serve(t, keyed({ tokens_per_day: quota + 1 }));
      const statuses = [await ask(spare.url), await ask(spare.url), await ask(spare.url)];
      assert.deepEqual(statuses, [200, 200, 429], `${path} counts each token once`);
    }
    const hurried = await serve(t, keyed({ requests_per_minute: 1 }));
    assert.deepEqual([await ask(hurried.url), await ask(hurried.url)], [200, 429], path);
  }
});

test("every refusal is counted by its reason, whatever the transport", async (t) => {
  const counted: string[] = [];
  const setup = keyed({ requests_per_minute: 1 });
  const { url, port } = await serve(t, {
    ...setup,
    options: { ...setup.options, refused: (code) => counted.push(code) },
  });
  const completion = { model: "fake", prompt: "x", max_tokens: 2 };
  await post(`${url}/v1/completions`, completion);
  await post(`${url}/v1/completions`, { model: "other" }, BEARER);
  await post(`${url}/v1/nothing`, {}, BEARER);
  await fetch(`${url}/v1/completions`, { headers: BEARER });
  await (await post(`${url}/v1/completions`, completion, BEARER)).text();
  await post(`${url}/v1/completions`, { ...completion, stream: true }, BEARER);
  assert.deepEqual(counted.splice(0), [
    "missing_api_key",
    "model_not_found",
    "not_found",
    "method_not_allowed",
    "rate_limit_exceeded",
  ]);
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`, { headers: BEARER });
  await once(socket, "open");
  socket.send("no JSON");
  socket.send(JSON.stringify({ id: 1, type: "completion", ...completion }));
  await until(() => counted.length === 2, "both frames are refused");
  assert.deepEqual(counted, ["invalid_json", "rate_limit_exceeded"]);
  socket.close();
});

test("a stream that fails after it began is counted too", async (t) => {
  const counted: string[] = [];
  const { url } = await serve(t, {
    failure: { after: 2, code: "not_finite", message: "NaN" },
    options: { refused: (code) => counted.push(code) },
  });
  const body = { model: "fake", prompt: "x", stream: true };
  assert.match(await (await post(`${url}/v1/completions`, body)).text(), /not_finite/);
  assert.deepEqual(counted, ["not_finite"]);
});
