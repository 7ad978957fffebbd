import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { APIError, NotFoundError } from "openai";
import { type FakeGenerator, fakeContext, fakeContextWithoutText } from "../src/engine/fake.js";
import type { ChatTemplate, Tokenizer } from "../src/text/text.js";
import { payloads, post, serve } from "./harness.js";

interface ErrorAnswer {
  readonly status: number;
  readonly error: { message: string; type: string; param: string | null; code: string | null };
}

async function refused(url: string, body: unknown): Promise<ErrorAnswer> {
  const response = await post(url, body);
  const { error } = (await response.json()) as Pick<ErrorAnswer, "error">;
  assert.deepEqual(Object.keys(error), ["message", "type", "param", "code"]);
  assert.ok(!error.message.includes("\n"), error.message);
  return { status: response.status, error };
}

const messages = [{ role: "user", content: "hi" }];

test("a body that is no JSON object is refused as OpenAI does", async (t) => {
  const { url } = await serve(t);
  for (const body of ["", "{", "[]", "null", "17", '"text"', "\u0000", "{'a':1}"]) {
    const { status, error } = await refused(`${url}/v1/completions`, body);
    assert.equal(status, 400);
    assert.equal(error.type, "invalid_request_error");
    assert.match(error.message, /^We could not parse the JSON body of your request/);
    assert.deepEqual([error.param, error.code], [null, null]);
  }
  const bytes = Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]);
  const response = await fetch(`${url}/v1/completions`, { method: "POST", body: bytes });
  assert.equal(response.status, 400);
});

test("an unknown model is a 404 with its name", async (t) => {
  const { url, client } = await serve(t);
  const { status, error } = await refused(`${url}/v1/chat/completions`, {
    model: "gpt-4",
    messages,
  });
  assert.equal(status, 404);
  assert.deepEqual(error, {
    message: "The model `gpt-4` does not exist. GET /v1/models lists those that do.",
    type: "invalid_request_error",
    param: "model",
    code: "model_not_found",
  });
  await assert.rejects(
    client.completions.create({ model: "gpt-4", prompt: "x" }),
    (thrown) => thrown instanceof NotFoundError && thrown.code === "model_not_found",
  );
});

test("a wrong parameter is named, with what would be right", async (t) => {
  const { url, generator } = await serve(t);
  const completion = { model: "fake", prompt: "x" };
  const chat = { model: "fake", messages };
  const cases: [base: object, field: object, param: string, message: RegExp][] = [
    [
      completion,
      { temperature: -1 },
      "temperature",
      /^temperature must be a number from 0 to 2, not -1\.$/,
    ],
    [completion, { temperature: "hot" }, "temperature", /not "hot"/],
    [completion, { top_p: 0 }, "top_p", /above 0 and at most 1/],
    [completion, { top_k: -2 }, "top_k", /an integer of at least -1/],
    [completion, { min_p: 2 }, "min_p", /from 0 to 1/],
    [completion, { max_tokens: 1.5 }, "max_tokens", /an integer of at least 0/],
    [completion, { max_tokens: -1 }, "max_tokens", /at least 0/],
    [chat, { max_tokens: 0 }, "max_tokens", /at least 1/],
    [completion, { n: 0 }, "n", /from 1 to 128/],
    [completion, { n: 3, best_of: 2 }, "best_of", /at least n, which is 3, not 2/],
    [completion, { best_of: 129 }, "best_of", /from 1 to 128/],
    [completion, { best_of: 2, stream: true }, "best_of", /only allowed when stream is false/],
    [completion, { prompt: Array(1000).fill("a"), best_of: 2 }, "best_of", /at most 1 for so many/],
    [completion, { logprobs: 21 }, "logprobs", /from 0 to 20/],
    [completion, { logprobs: true }, "logprobs", /an integer/],
    [chat, { logprobs: 1 }, "logprobs", /true or false/],
    [chat, { top_logprobs: 3 }, "top_logprobs", /only allowed when logprobs is true/],
    [completion, { stop: ["a", ""] }, "stop", /empty/],
    [completion, { stop: 5 }, "stop", /a string or an array of strings/],
    [completion, { stop: ["a", null] }, "stop[1]", /a string, not null/],
    [completion, { stream: "yes" }, "stream", /true or false/],
    [completion, { stream_options: {} }, "stream_options", /only allowed when stream is true/],
    [completion, { seed: 0.5 }, "seed", /an integer/],
    [completion, { presence_penalty: 3 }, "presence_penalty", /from -2 to 2/],
    [completion, { repetition_penalty: 0 }, "repetition_penalty", /from 0.01 to 100/],
    [completion, { logit_bias: { "999": 1 } }, "logit_bias", /from 0 to 257/],
    [completion, { logit_bias: { "1": 101 } }, "logit_bias.1", /from -100 to 100/],
    [completion, { logit_bias: [] }, "logit_bias", /an object/],
    [completion, { echo: 1 }, "echo", /true or false/],
    [completion, { prompt: undefined }, "prompt", /not absent/],
    [completion, { prompt: [] }, "prompt", /at least one token/],
    [completion, { prompt: [[]] }, "prompt", /at least one token/],
    [completion, { prompt: [1, 258] }, "prompt[1]", /a token id from 0 to 257, not 258/],
    [completion, { prompt: [[1], [-1]] }, "prompt[1][0]", /from 0 to 257/],
    [completion, { prompt: ["a", 1] }, "prompt[1]", /a string, as prompt\[0\] is, not 1/],
    [completion, { prompt: [true] }, "prompt[0]", /an array of token ids, not true/],
    [completion, { prompt: Array(1025).fill("a") }, "prompt", /at most 1024 prompts/],
    [completion, { prompt: Array(1000).fill("a"), n: 2 }, "n", /at most 1 for so many prompts/],
    [completion, { prompt: { text: "x" } }, "prompt", /not an object/],
    [completion, { model: undefined }, "model", /GET \/v1\/models/],
    [completion, { model: 5 }, "model", /a string/],
    [chat, { messages: [] }, "messages", /at least one message/],
    [chat, { messages: "hi" }, "messages", /an array of messages/],
    [chat, { messages: [{ role: "robot", content: "x" }] }, "messages[0].role", /one of system/],
    [chat, { messages: [{ role: "user" }] }, "messages[0].content", /a string or an array/],
    [chat, { messages: [{ role: "tool", content: "x" }] }, "messages[0].tool_call_id", /a string/],
    [chat, { messages: [...messages, 5] }, "messages[1]", /an object/],
    [chat, { messages: [{ ...messages[0], name: 5 }] }, "messages[0].name", /a string, not 5/],
    [
      chat,
      { messages: [{ role: "assistant", tool_calls: [1] }] },
      "messages[0].tool_calls[0]",
      /an object, not 1/,
    ],
    [
      chat,
      { messages: [{ role: "assistant", tool_calls: [{ id: "1", type: "function" }] }] },
      "messages[0].tool_calls[0].function",
      /an object, not absent/,
    ],
    [
      chat,
      {
        messages: [{ role: "assistant", tool_calls: [{ function: { name: "f", arguments: {} } }] }],
      },
      "messages[0].tool_calls[0].function.arguments",
      /a string, not an object/,
    ],
  ];
  for (const [base, field, param, message] of cases) {
    const path = "messages" in base ? "chat/completions" : "completions";
    const { status, error } = await refused(`${url}/v1/${path}`, { ...base, ...field });
    assert.equal(status, 400, JSON.stringify(field));
    assert.equal(error.param, param, JSON.stringify(field));
    assert.equal(error.code, "invalid_parameter");
    assert.match(error.message, message);
  }
  assert.equal(generator.requests.length, 0);
});

test("numbers that JSON cannot say are shown, and bodies of very many fields are refused", async (t) => {
  const { url } = await serve(t);
  const huge = await refused(`${url}/v1/completions`, `{"model":"fake","temperature":1e999}`);
  assert.match(huge.error.message, /not Infinity\.$/);
  const names = Array.from({ length: 300 }, (_, i) => [`f${i}`, 1]);
  const wide = await refused(`${url}/v1/completions`, Object.fromEntries(names));
  assert.deepEqual([wide.status, wide.error.code], [400, "invalid_parameter"]);
  assert.match(wide.error.message, /300 fields; at most 256/);
});

test("what is not served is refused by name unless it changes nothing", async (t) => {
  const { url } = await serve(t);
  const chat = { model: "fake", messages };
  for (const [name, value, neutral] of [
    ["best_of", 4, 1],
    ["suffix", "end", null],
    ["response_format", { type: "json_object" }, { type: "text" }],
    ["modalities", ["text", "audio"], ["text"]],
    ["guided_regex", "a+", null],
  ] as const) {
    const { status, error } = await refused(`${url}/v1/chat/completions`, {
      ...chat,
      [name]: value,
    });
    assert.equal(status, 400, name);
    assert.deepEqual([error.param, error.code], [name, "not_supported"]);
    const served = await post(`${url}/v1/chat/completions`, { ...chat, [name]: neutral });
    assert.equal(served.status, 200, name);
  }
  const image = { type: "image_url", image_url: { url: "data:" } };
  const content = [{ type: "text", text: "what is it?" }, image];
  const { error } = await refused(`${url}/v1/chat/completions`, {
    model: "fake",
    messages: [{ role: "user", content }],
  });
  assert.deepEqual([error.param, error.code], ["messages[0].content[1]", "not_supported"]);
  assert.match(error.message, /image_url/);
});

test("unknown fields are accepted and logged once", async (t) => {
  const { url, logged } = await serve(t);
  const body = { model: "fake", prompt: "x", frobnicate: 1, user: "me", metadata: {} };
  for (const id of ["first", "second", "third"]) {
    const answer = await post(`${url}/v1/completions`, body, { "x-request-id": id });
    assert.equal(answer.status, 200);
  }
  assert.deepEqual(
    logged.map(({ fields }) => fields),
    [{ requestId: "first", field: "frobnicate" }],
  );
});

test("a text that cannot fit the window is refused before it is rendered or tokenized", async (t) => {
  let worked = 0;
  const counting = (generator: FakeGenerator) => {
    const context = fakeContext(generator);
    const { tokenizer, chatTemplate } = context;
    const encode: Tokenizer["encode"] = (text) => {
      worked++;
      return tokenizer!.encode(text);
    };
    const render: ChatTemplate["render"] = (...chat) => {
      worked++;
      return chatTemplate!.render(...chat);
    };
    return {
      ...context,
      tokenizer: { ...tokenizer!, encode },
      chatTemplate: { ...chatTemplate!, render },
    };
  };
  const { url } = await serve(t, { context: counting });
  const text = "x".repeat(100_000);
  const long = [{ role: "user", content: text }];
  const many = Array.from({ length: 600 }, () => ({ role: "user", content: "" }));
  for (const [path, body, param] of [
    ["/v1/completions", { prompt: text }, "prompt"],
    ["/v1/chat/completions", { messages: long }, "messages"],
    ["/v1/chat/completions", { messages: many }, "messages"],
    ["/v1/responses", { input: text }, "input"],
    ["/v1/embeddings", { input: text }, "input"],
    ["/tokenize", { prompt: text }, "prompt"],
    ["/tokenize", { messages: many }, "messages"],
  ] as const) {
    const { status, error } = await refused(url + path, { model: "fake", ...body });
    assert.deepEqual([status, error.code, error.param], [400, "context_length_exceeded", param]);
    assert.match(error.message, /maximum context length is 512 tokens.* at least (100000|600) /);
  }
  const count = { model: "fake", max_tokens: 1, messages: long };
  assert.equal((await post(`${url}/v1/messages/count_tokens`, count)).status, 400);
  assert.equal(worked, 0);
});

test("a request beyond the window is refused before any header, streamed or not", async (t) => {
  const { url, generator } = await serve(t);
  const prompt = "x".repeat(500);
  for (const stream of [true, false]) {
    const body = { model: "fake", prompt, max_tokens: 12, stream };
    const { status, error } = await refused(`${url}/v1/completions`, body);
    assert.equal(status, 400);
    assert.equal(error.code, "context_length_exceeded");
    assert.match(error.message, /maximum context length is 512 tokens.*requested 513 tokens \(501/);
  }
  const full = await refused(`${url}/v1/completions`, { model: "fake", prompt: "x".repeat(511) });
  assert.equal(full.error.code, "context_length_exceeded");
  assert.equal(generator.requests.length, 0);
  const fits = await post(`${url}/v1/completions`, { model: "fake", prompt, max_tokens: 11 });
  assert.equal(fits.status, 200);
  const short = await post(`${url}/v1/completions`, { model: "fake", prompt: "x".repeat(506) });
  assert.equal(short.status, 200);
  assert.equal(generator.requests.at(-1)?.maxTokens, 5);
});

test("without a tokenizer token ids are served and text is refused with the reason", async (t) => {
  const { url } = await serve(t, { context: fakeContextWithoutText, reply: () => "AB" });
  const completion = await post(`${url}/v1/completions`, {
    model: "fake",
    prompt: [1, 2],
    logprobs: 1,
    return_token_ids: true,
  });
  const { choices } = (await completion.json()) as {
    choices: { text: string; logprobs: { tokens: string[] }; token_ids: number[] }[];
  };
  assert.equal(choices[0]?.text, "");
  assert.deepEqual(choices[0]?.logprobs.tokens, ["token_id:65", "token_id:66"]);
  assert.deepEqual(choices[0]?.token_ids, [65, 66, 257]);
  for (const [path, body, param] of [
    ["completions", { prompt: "text" }, "prompt"],
    ["completions", { prompt: ["text"] }, "prompt"],
    ["completions", { prompt: [1], stop: "x" }, "stop"],
    ["chat/completions", { messages }, "messages"],
  ] as const) {
    const { status, error } = await refused(`${url}/v1/${path}`, { model: "fake", ...body });
    assert.equal(status, 400);
    assert.deepEqual([error.param, error.code], [param, "not_supported"]);
    assert.match(error.message, /the model folder has no tokenizer\.json/);
  }
});

test("a failure before the first token has its own status, streamed or not", async (t) => {
  const failure = {
    after: 0,
    code: "adapter_failed",
    message: "adapter tuned: unreadable",
  } as const;
  const { url, generator } = await serve(t, { failure });
  for (const stream of [true, false]) {
    const body = { model: "tuned", prompt: "x", stream };
    const { status, error } = await refused(`${url}/v1/completions`, body);
    assert.equal(status, 500);
    assert.deepEqual(
      [error.code, error.message],
      ["adapter_failed", 'The adapter "tuned" could not be used.'],
    );
  }
  assert.equal(generator.running, 0);
});

test("a value that is not finite is told with the adapter that computed it", async (t) => {
  const failure = { after: 0, code: "not_finite", message: "whatever" } as const;
  const { url } = await serve(t, { failure });
  const { status, error } = await refused(`${url}/v1/completions`, { model: "tuned", prompt: "x" });
  assert.equal(status, 500);
  const message = 'The model "tuned" computed a value that is not finite (NaN or infinity).';
  assert.deepEqual([error.code, error.message], ["not_finite", message]);
});

test("a failure within a stream is an error event and [DONE]; the other choices stop", async (t) => {
  const failure = { after: 3, code: "engine_failed", message: "step 3 fails" } as const;
  const { url, client, generator, logged } = await serve(t, { failure });
  const body = { model: "fake", prompt: ["x", "y"] };
  const response = await post(`${url}/v1/completions`, { ...body, stream: true });
  assert.equal(response.status, 200);
  const events = payloads(await response.text());
  assert.deepEqual(events.slice(-2), [
    '{"error":{"message":"step 3 fails","type":"server_error","param":null,"code":"engine_failed"}}',
    "[DONE]",
  ]);
  assert.equal(generator.running, 0);
  assert.deepEqual(
    logged.map(({ message }) => message),
    ["step 3 fails"],
  );
  const stream = await client.completions.create({ ...body, stream: true });
  await assert.rejects(
    async () => {
      for await (const _ of stream);
    },
    (thrown) => thrown instanceof APIError && thrown.code === "engine_failed",
  );
});

test("a full queue is a 503 with Retry-After, and none of its choices begins", async (t) => {
  const { url, generator } = await serve(t, { capacity: 2 });
  const response = await post(`${url}/v1/completions`, { model: "fake", prompt: "x", n: 3 });
  assert.equal(response.status, 503);
  assert.equal(response.headers.get("retry-after"), "1");
  const { error } = (await response.json()) as ErrorAnswer;
  assert.equal(error.code, "overloaded");
  assert.equal(generator.requests.length, 0);
});

test("no JSON body, however odd, brings the server down", async (t) => {
  const { url } = await serve(t, { reply: () => "a" });
  const odd = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom(1e300, -0, 2 ** 53, "__proto__", [[[]]], { length: 5 }, "\ud800"),
  );
  const names = ["prompt", "messages", "model", "n", "stop", "logit_bias", "stream_options"];
  const fields = fc.dictionary(
    fc.constantFrom(
      ...names,
      "max_tokens",
      "logprobs",
      "tools",
      "__proto__",
      "constructor",
      "stream",
    ),
    odd,
  );
  const path = fc.constantFrom("completions", "chat/completions");
  await fc.assert(
    fc.asyncProperty(path, fields, fc.boolean(), async (path, fields, plausible) => {
      const base = plausible ? { model: "fake", prompt: "x", messages } : {};
      const response = await post(`${url}/v1/${path}`, JSON.stringify({ ...base, ...fields }));
      const text = await response.text();
      assert.ok([200, 400, 404].includes(response.status), `${response.status} ${text}`);
    }),
    { numRuns: 300 },
  );
});

test("deeply nested and broken JSON is refused", async (t) => {
  const { url } = await serve(t);
  const deep = `${"[".repeat(200_000)}${"]".repeat(200_000)}`;
  const nested = await refused(`${url}/v1/completions`, `{"model":"fake","prompt":${deep}}`);
  assert.equal(nested.status, 400);
  const valid = JSON.stringify({ model: "fake", prompt: "x", stop: ["a"] });
  await fc.assert(
    fc.asyncProperty(fc.nat(valid.length - 1), fc.string({ maxLength: 3 }), async (at, junk) => {
      const body = valid.slice(0, at) + junk + valid.slice(at + 1);
      const response = await post(`${url}/v1/completions`, body);
      await response.text();
      assert.ok([200, 400, 404].includes(response.status));
    }),
    { numRuns: 200 },
  );
});
