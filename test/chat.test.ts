import assert from "node:assert/strict";
import { test } from "node:test";
import type { ChatCompletionMessageParam } from "openai/resources/chat/completions";
import { fakeTokens } from "../src/engine/fake.js";
import { payloads, post, serve } from "./harness.js";

const question: ChatCompletionMessageParam[] = [{ role: "user", content: "hi" }];

function promptOf(request: { prompt: readonly number[] } | undefined): string {
  return Buffer.from(request?.prompt ?? []).toString("utf8");
}

test("a chat is answered whole", async (t) => {
  const { client, generator } = await serve(t, { reply: () => "Hé!" });
  const answer = await client.chat.completions.create({ model: "fake", messages: question });
  assert.match(answer.id, /^chatcmpl-[0-9a-f]{32}$/);
  assert.equal(answer.object, "chat.completion");
  assert.deepEqual(answer.choices, [
    {
      index: 0,
      message: { role: "assistant", content: "Hé!", refusal: null },
      logprobs: null,
      finish_reason: "stop",
    },
  ]);
  assert.equal(answer.usage?.completion_tokens, 5);
  assert.equal(promptOf(generator.requests[0]), "<user>hi\n<assistant>");
});

test("a streamed chat is role, content, finish, usage and [DONE], to the byte", async (t) => {
  const { url } = await serve(t, { reply: () => 'a"' });
  const response = await post(
    `${url}/v1/chat/completions`,
    { model: "tuned", messages: question, stream: true, stream_options: { include_usage: true } },
    { "x-request-id": "7" },
  );
  const events = payloads(await response.text());
  const created = JSON.parse(events[0]!).created;
  const chunk = (delta: string, reason: string) =>
    `{"id":"chatcmpl-7","object":"chat.completion.chunk","created":${created},"model":"tuned",` +
    `"choices":[{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${reason}}],"usage":null}`;
  assert.deepEqual(events, [
    chunk('{"role":"assistant","content":""}', "null"),
    chunk('{"content":"a"}', "null"),
    chunk('{"content":"\\""}', "null"),
    chunk("{}", '"stop"'),
    `{"id":"chatcmpl-7","object":"chat.completion.chunk","created":${created},"model":"tuned",` +
      `"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23,` +
      `"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}`,
    "[DONE]",
  ]);
});

test("without include_usage no chunk speaks of usage", async (t) => {
  const { url } = await serve(t, { reply: () => "a" });
  const body = { model: "fake", messages: question, stream: true };
  const text = await (await post(`${url}/v1/chat/completions`, body)).text();
  assert.ok(!text.includes("usage"));
  assert.equal(payloads(text).length, 4);
});

test("the openai client streams a chat of several choices", async (t) => {
  const { client } = await serve(t, { reply: ({ sampling }) => `choice ${sampling.seed} 👋` });
  const runner = client.chat.completions.stream({
    model: "fake",
    messages: question,
    n: 3,
    seed: 1,
  });
  const final = await runner.finalChatCompletion();
  const texts = final.choices.map(({ message }) => message.content);
  assert.deepEqual(texts, ["choice 1 👋", "choice 2 👋", "choice 3 👋"]);
});

test("chat log-probabilities have OpenAI's shape, streamed and not", async (t) => {
  const { client } = await serve(t, { reply: () => "é" });
  const body = { model: "fake", messages: question, logprobs: true, top_logprobs: 1 };
  const answer = await client.chat.completions.create(body);
  const entry = (token: string, byte: number) => ({
    token,
    logprob: -0.25,
    bytes: [byte],
    top_logprobs: [{ token, logprob: -0.25, bytes: [byte] }],
  });
  const expected = [entry("\\xc3", 0xc3), entry("\\xa9", 0xa9)];
  assert.deepEqual(answer.choices[0]?.logprobs, { content: expected, refusal: null });
  const streamed: unknown[] = [];
  for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
    streamed.push(...(chunk.choices[0]?.logprobs?.content ?? []));
  }
  assert.deepEqual(streamed, expected);
});

test("return_tokens_as_token_ids names tokens by their ids", async (t) => {
  const { url } = await serve(t, { reply: () => "A" });
  const body = {
    model: "fake",
    messages: question,
    logprobs: true,
    return_tokens_as_token_ids: true,
    return_token_ids: true,
  };
  const { choices } = (await (await post(`${url}/v1/chat/completions`, body)).json()) as {
    choices: { logprobs: { content: unknown[] }; prompt_token_ids: number[] }[];
  };
  const entry = { token: "token_id:65", logprob: -0.25, bytes: [65], top_logprobs: [] };
  assert.deepEqual(choices[0]?.logprobs.content, [entry]);
  assert.deepEqual(choices[0]?.prompt_token_ids, fakeTokens("<user>hi\n<assistant>"));
});

test("every role is accepted, and text parts are joined", async (t) => {
  const { client, generator } = await serve(t);
  await client.chat.completions.create({
    model: "fake",
    messages: [
      { role: "system", content: "s" },
      { role: "developer", content: "d" },
      {
        role: "user",
        content: [
          { type: "text", text: "one" },
          { type: "text", text: "two" },
        ],
      },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "1", type: "function", function: { name: "f", arguments: "{}" } }],
      },
      { role: "tool", tool_call_id: "1", content: "t" },
    ],
  });
  assert.equal(
    promptOf(generator.requests[0]),
    `<system>s\n<developer>d\n<user>one\ntwo\n<assistant>{"name":"f","arguments":{}}\n<user>Result of 1: t\n<assistant>`,
  );
});

test("a chat may use the rest of the window, and max_completion_tokens wins over max_tokens", async (t) => {
  const { client, generator } = await serve(t);
  await client.chat.completions.create({ model: "fake", messages: question });
  await client.chat.completions.create({
    model: "fake",
    messages: question,
    max_tokens: 9,
    max_completion_tokens: 4,
  });
  assert.deepEqual(
    generator.requests.map(({ maxTokens }) => maxTokens),
    [512 - 20, 4],
  );
});

test("the model goes on with the last message where it is asked to", async (t) => {
  const { client, url, generator } = await serve(t, { reply: () => " three" });
  const messages = [
    { role: "user" as const, content: "count" },
    { role: "assistant" as const, content: "one, two," },
  ];
  const body = { model: "fake", messages, continue_final_message: true };
  const { choices } = await client.chat.completions.create(body);
  assert.deepEqual(choices[0]?.message, { role: "assistant", content: " three", refusal: null });
  assert.equal(promptOf(generator.requests.at(-1)), "<user>count\n<assistant>one, two,");
  const explicit = { ...body, add_generation_prompt: false };
  await client.chat.completions.create(explicit);
  assert.equal(promptOf(generator.requests.at(-1)), "<user>count\n<assistant>one, two,");
  const closed = { model: "fake", messages, add_generation_prompt: false };
  await client.chat.completions.create(closed);
  assert.equal(promptOf(generator.requests.at(-1)), "<user>count\n<assistant>one, two,\n");
  const { tokens } = (await (await post(`${url}/tokenize`, body)).json()) as { tokens: number[] };
  assert.deepEqual(tokens, fakeTokens("<user>count\n<assistant>one, two,"));
});

test("what cannot be continued is refused by its field", async (t) => {
  const { url } = await serve(t);
  const call = { id: "1", type: "function", function: { name: "f", arguments: "{}" } };
  const tools = [{ type: "function", function: { name: "f" } }];
  for (const [fields, param, why] of [
    [{ continue_final_message: 1 }, "continue_final_message", /true or false/],
    [{ add_generation_prompt: "yes" }, "add_generation_prompt", /true or false/],
    [
      { continue_final_message: true, add_generation_prompt: true },
      "continue_final_message",
      /together with add_generation_prompt/,
    ],
    [{ continue_final_message: true, tools }, "continue_final_message", /together with tools/],
    [
      { continue_final_message: true, messages: [{ role: "assistant", tool_calls: [call] }] },
      "continue_final_message",
      /the last message calls tools/,
    ],
  ] as const) {
    const body = { model: "fake", messages: question, ...fields };
    const response = await post(`${url}/v1/chat/completions`, body);
    const { error } = (await response.json()) as { error: { param: string; message: string } };
    assert.deepEqual([response.status, error.param], [400, param]);
    assert.match(error.message, why);
  }
});
