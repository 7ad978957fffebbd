import assert from "node:assert/strict";
import { test } from "node:test";
import { FAKE_EOS, fakeTokens } from "../src/engine/fake.js";
import { mixOf } from "../src/scheduler/mix.js";
import { payloads, post, serve } from "./harness.js";

test("a completion is answered whole", async (t) => {
  const { client } = await serve(t, { reply: () => "to you" });
  const answer = await client.completions.create({
    model: "fake",
    prompt: "hello",
    max_tokens: 50,
  });
  assert.match(answer.id, /^cmpl-[0-9a-f]{32}$/);
  assert.equal(answer.object, "text_completion");
  assert.equal(answer.model, "fake");
  assert.ok(Math.abs(answer.created - Date.now() / 1000) < 10);
  assert.deepEqual(answer.choices, [
    { index: 0, text: "to you", logprobs: null, finish_reason: "stop" },
  ]);
  assert.deepEqual(answer.usage, {
    prompt_tokens: 6, // and the begin of text
    completion_tokens: 7, // and the end of text
    total_tokens: 13,
    prompt_tokens_details: { cached_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0 },
  });
});

test("16 tokens are the default", async (t) => {
  const { client } = await serve(t, { reply: () => "x".repeat(100) });
  const answer = await client.completions.create({ model: "fake", prompt: "hello" });
  assert.equal(answer.choices[0]?.text, "x".repeat(16));
  assert.equal(answer.choices[0]?.finish_reason, "length");
});

test("a streamed completion has one event per token, to the byte", async (t) => {
  const { url } = await serve(t, { reply: () => "né" });
  const response = await post(
    `${url}/v1/completions`,
    { model: "fake", prompt: "hi", stream: true, stream_options: { include_usage: true } },
    { "x-request-id": "mine" },
  );
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  assert.equal(response.headers.get("x-request-id"), "mine");
  const events = payloads(await response.text());
  const created = JSON.parse(events[0]!).created;
  const chunk = (text: string, reason: string) =>
    `{"id":"cmpl-mine","object":"text_completion","created":${created},"model":"fake","choices":[` +
    `{"index":0,"text":"${text}","logprobs":null,"finish_reason":${reason}}],"usage":null}`;
  assert.deepEqual(events, [
    chunk("n", "null"),
    chunk("", "null"),
    chunk("é", "null"),
    chunk("", `"stop"`),
    `{"id":"cmpl-mine","object":"text_completion","created":${created},"model":"fake","choices":[],` +
      `"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,` +
      `"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}`,
    "[DONE]",
  ]);
});

test("the openai client reads a streamed completion", async (t) => {
  const { client } = await serve(t, { reply: () => "Grüße 👋" });
  const stream = await client.completions.create({
    model: "fake",
    prompt: "hello",
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let usage: unknown = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.text ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, "Grüße 👋");
  assert.equal((usage as { completion_tokens: number }).completion_tokens, 13);
});

test("a prompt may be a string, strings, token ids or arrays of token ids", async (t) => {
  const { client, generator } = await serve(t, { reply: ({ prompt }) => `${prompt.length}` });
  const ask = async (prompt: string | string[] | number[] | number[][]) => {
    generator.requests.length = 0;
    const answer = await client.completions.create({ model: "fake", prompt });
    const { prompt_tokens } = answer.usage!;
    return { texts: answer.choices.map(({ text }) => text), prompt_tokens };
  };
  assert.deepEqual(await ask("abc"), { texts: ["4"], prompt_tokens: 4 });
  assert.deepEqual(await ask(["abc", "de"]), { texts: ["4", "3"], prompt_tokens: 7 });
  assert.deepEqual(await ask([1, 2, 3]), { texts: ["3"], prompt_tokens: 3 });
  assert.deepEqual(await ask([[1, 2, 3], [4]]), { texts: ["3", "1"], prompt_tokens: 4 });
});

test("n choices per prompt are numbered prompt by prompt, each with a seed of its own", async (t) => {
  const { client, generator } = await serve(t, {
    reply: ({ prompt, sampling }) => `${String.fromCharCode(...prompt)}${sampling.seed}`,
    cachedTokens: 1,
  });
  const answer = await client.completions.create({
    model: "fake",
    prompt: [[65], [66]],
    n: 2,
    seed: 7,
    temperature: 0.5,
  });
  const texts = answer.choices.map(({ index, text }) => `${index}:${text}`);
  assert.deepEqual(texts, ["0:A7", "1:A8", "2:B7", "3:B8"]);
  assert.equal(answer.usage?.prompt_tokens, 2);
  assert.equal(answer.usage?.completion_tokens, 12);
  assert.equal(answer.usage?.prompt_tokens_details?.cached_tokens, 2);
  assert.equal(generator.running, 0);
});

test("best_of answers the n candidates whose tokens are likeliest in the mean", async (t) => {
  // The fake model is surer of a token the lower its id.
  const { client, generator } = await serve(t, {
    reply: ({ prompt, sampling }) =>
      ["dd", "b", "", "aac", "c"][Number(sampling.seed) % 5]! + prompt,
    logprobOf: (token) => -token,
  });
  const body = { model: "fake", prompt: [[49], [50]], max_tokens: 3, seed: 0, best_of: 4 };
  const one = await client.completions.create(body);
  const shown = (answer: typeof one) => answer.choices.map(({ index, text }) => [index, text]);
  assert.deepEqual(shown(one), [
    [0, "49"],
    [1, "50"],
  ]);
  assert.equal(generator.requests.length, 8);
  assert.equal(one.usage?.completion_tokens, 8 * 3);
  assert.equal(one.choices[0]?.logprobs, null);
  const two = await client.completions.create({ ...body, n: 2, logprobs: 0 });
  assert.deepEqual(shown(two), [
    [0, "49"],
    [1, "b49"],
    [2, "50"],
    [3, "b50"],
  ]);
  assert.deepEqual(two.choices[1]?.logprobs?.token_logprobs, [-98, -52, -57]);
  const all = await client.completions.create({ ...body, n: 4 });
  assert.deepEqual(shown(all).slice(0, 2), [
    [0, "dd4"],
    [1, "b49"],
  ]);
  const stream = { ...body, best_of: 1, stream: true } as const;
  for await (const { choices } of await client.completions.create(stream)) {
    assert.ok(choices[0]!.index < 2);
  }
});

test("a candidate without tokens is the last to be chosen", async (t) => {
  const { client } = await serve(t, {
    reply: ({ sampling }) => (sampling.seed === 0n ? "" : "z"),
  });
  const { choices } = await client.completions.create({
    model: "fake",
    prompt: "x",
    seed: 0,
    best_of: 2,
  });
  assert.equal(choices[0]?.text, "z");
});

test("echo puts the prompt before the first token, streamed and not", async (t) => {
  const { client } = await serve(t, { reply: () => "!?" });
  const body = { model: "fake", prompt: "why", echo: true } as const;
  const answer = await client.completions.create(body);
  assert.equal(answer.choices[0]?.text, "why!?");
  const texts: string[] = [];
  for await (const chunk of await client.completions.create({ ...body, stream: true })) {
    texts.push(chunk.choices[0]!.text);
  }
  assert.deepEqual(texts, ["why!", "?", ""]);
});

test("echo without new tokens gives the prompt and its log-probabilities", async (t) => {
  const { client } = await serve(t);
  const body = { model: "fake", prompt: fakeTokens("aé"), echo: true, max_tokens: 0, logprobs: 1 };
  const { choices, usage } = await client.completions.create(body);
  assert.equal(choices[0]?.text, "aé");
  assert.equal(choices[0]?.finish_reason, "length");
  assert.equal(usage?.completion_tokens, 0);
  assert.deepEqual(choices[0]?.logprobs, {
    text_offset: [0, 1, 1],
    token_logprobs: [null, -0.25, -0.25],
    tokens: ["a", "bytes:\\xc3", "bytes:\\xa9"],
    top_logprobs: [null, { "bytes:\\xc3": -0.25 }, { "bytes:\\xa9": -0.25 }],
  });
});

test("log-probabilities of a stream are those of the whole answer", async (t) => {
  const { client } = await serve(t, { reply: () => "a👋b" });
  const body = { model: "fake", prompt: "why", echo: true, logprobs: 2, max_tokens: 9 } as const;
  const { choices } = await client.completions.create(body);
  const whole = choices[0]!.logprobs!;
  assert.deepEqual(whole.text_offset, [0, 0, 1, 2, 3, 4, 4, 4, 4, 5]);
  assert.equal(whole.token_logprobs?.[0], null);
  const parts: (typeof whole)[] = [];
  for await (const chunk of await client.completions.create({ ...body, stream: true })) {
    if (chunk.choices[0]?.logprobs) parts.push(chunk.choices[0].logprobs);
  }
  for (const key of ["text_offset", "token_logprobs", "tokens", "top_logprobs"] as const) {
    assert.deepEqual(
      parts.flatMap((part) => part[key] as unknown[]),
      whole[key],
      key,
    );
  }
});

test("return_token_ids adds the ids of prompt and answer, the one that ended it included", async (t) => {
  const { url } = await serve(t, { reply: () => "ok" });
  const body = { model: "fake", prompt: [5, 6], return_token_ids: true };
  const whole = (await (await post(`${url}/v1/completions`, body)).json()) as {
    choices: Record<string, unknown>[];
  };
  assert.deepEqual(whole.choices[0]?.prompt_token_ids, [5, 6]);
  assert.deepEqual(whole.choices[0]?.token_ids, [...fakeTokens("ok"), FAKE_EOS]);
  const stream = await (await post(`${url}/v1/completions`, { ...body, stream: true })).text();
  const choices = payloads(stream)
    .filter((payload) => payload !== "[DONE]")
    .map((payload) => JSON.parse(payload).choices[0]);
  assert.deepEqual(choices[0].prompt_token_ids, [5, 6]);
  assert.deepEqual(
    choices.flatMap(({ token_ids }) => token_ids),
    [...fakeTokens("ok"), FAKE_EOS],
  );
});

test("a stop string ends a completion across token borders, and nothing of it is shown", async (t) => {
  const { client, generator } = await serve(t, { reply: () => "one two three END four" });
  const body = { model: "fake", prompt: "x", max_tokens: 100, stop: [" END", "never"] };
  const answer = await client.completions.create(body);
  assert.equal(answer.choices[0]?.text, "one two three");
  assert.equal(answer.choices[0]?.finish_reason, "stop");
  assert.equal(answer.usage?.completion_tokens, "one two three END".length);
  let text = "";
  for await (const chunk of await client.completions.create({ ...body, stream: true })) {
    text += chunk.choices[0]!.text;
  }
  assert.equal(text, "one two three");
  assert.equal(generator.cancelled, 2);
});

test("text that only begins like a stop string is shown at the end", async (t) => {
  const { client } = await serve(t, { reply: () => "wait EN" });
  const answer = await client.completions.create({ model: "fake", prompt: "x", stop: "END" });
  assert.equal(answer.choices[0]?.text, "wait EN");
});

test("ignore_eos goes on to the limit", async (t) => {
  const { url } = await serve(t, { reply: () => "ab" });
  const body = { model: "fake", prompt: "x", ignore_eos: true, max_tokens: 7 };
  const answer = (await (await post(`${url}/v1/completions`, body)).json()) as {
    choices: { text: string; finish_reason: string }[];
  };
  assert.deepEqual(answer.choices[0]?.text, "ababa");
  assert.equal(answer.choices[0]?.finish_reason, "length");
});

test("the sampling parameters reach the scheduler", async (t) => {
  const { url, generator } = await serve(t);
  await post(`${url}/v1/completions`, {
    model: "tuned",
    prompt: "x",
    temperature: 0.25,
    top_p: 0.5,
    top_k: 10,
    min_p: 0.125,
    presence_penalty: 1,
    frequency_penalty: -1,
    repetition_penalty: 1.5,
    seed: -1,
    logit_bias: { "7": -100, "8": 2.5 },
    max_tokens: 3,
    logprobs: 0,
  });
  const request = generator.requests[0]!;
  assert.deepEqual(request.mix, mixOf(1));
  assert.equal(request.maxTokens, 3);
  assert.equal(request.logprobs, 0);
  assert.deepEqual(request.sampling, {
    temperature: 0.25,
    topP: 0.5,
    topK: 10,
    minP: 0.125,
    presencePenalty: 1,
    frequencyPenalty: -1,
    repetitionPenalty: 1.5,
    seed: 2n ** 64n - 1n,
    logitBias: new Map([
      [7, -100],
      [8, 2.5],
    ]),
  });
});
