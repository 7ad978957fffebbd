import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { post, serve } from "./harness.js";

function anthropic(url: string, apiKey = "test-key"): Anthropic {
  return new Anthropic({ baseURL: url, apiKey, maxRetries: 0 });
}

function promptOf(request: { prompt: readonly number[] } | undefined): string {
  return Buffer.from(request?.prompt ?? []).toString("utf8");
}

const hello: Anthropic.MessageParam[] = [{ role: "user", content: "hi" }];

test("a message is answered whole", async (t) => {
  const { url, generator } = await serve(t, { reply: () => "Hé!", cachedTokens: 2 });
  const message = await anthropic(url).messages.create({
    model: "fake",
    max_tokens: 50,
    system: "Be brief.",
    messages: [
      { role: "user", content: [{ type: "text", text: "a" }] },
      { role: "assistant", content: [{ type: "tool_use", id: "t1", name: "f", input: {} }] },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "t1", content: "42" },
          { type: "text", text: "b" },
        ],
      },
    ],
    ...{ temperature: 0.5 }, // a field that the client only knows of older models
  });
  assert.match(message.id, /^msg_[0-9a-f]{32}$/);
  assert.deepEqual(message.content, [{ type: "text", text: "Hé!", citations: null }]);
  assert.equal(message.role, "assistant");
  assert.equal(message.stop_reason, "end_turn");
  const [request] = generator.requests;
  const prompt =
    '<system>Be brief.\n<user>a\n<assistant>{"name":"f","arguments":{}}\n' +
    "<user>Result of t1: 42\n<user>b\n<assistant>";
  assert.equal(promptOf(request), prompt);
  assert.equal(request?.sampling.temperature, 0.5);
  assert.deepEqual(message.usage, {
    input_tokens: prompt.length - 2,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 2,
    output_tokens: 5,
  });
});

test("the Anthropic client reads a streamed message", async (t) => {
  const { url } = await serve(t, { reply: () => "añb" });
  const types: string[] = [];
  const stream = anthropic(url).messages.stream({ model: "tuned", max_tokens: 9, messages: hello });
  for await (const event of stream) if (types.at(-1) !== event.type) types.push(event.type);
  assert.deepEqual(types, [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
  ]);
  const final = await stream.finalMessage();
  assert.equal(final.model, "tuned");
  assert.equal(final.stop_reason, "end_turn");
  assert.deepEqual(final.content, [{ type: "text", text: "añb", citations: null }]);
  assert.equal(final.usage.output_tokens, 5);
});

test("a message goes on with what the assistant has begun", async (t) => {
  const { url, generator } = await serve(t, { reply: () => " b" });
  const messages: Anthropic.MessageParam[] = [...hello, { role: "assistant", content: "a" }];
  const message = await anthropic(url).messages.create({ model: "fake", max_tokens: 9, messages });
  assert.deepEqual(message.content, [{ type: "text", text: " b", citations: null }]);
  assert.equal(promptOf(generator.requests[0]), "<user>hi\n<assistant>a");
});

test("a message says why it stopped", async (t) => {
  const { url } = await serve(t, { reply: () => "one two three" });
  const client = anthropic(url);
  const body = { model: "fake", messages: hello };
  const cut = await client.messages.create({ ...body, max_tokens: 3 });
  assert.deepEqual([cut.stop_reason, cut.stop_sequence], ["max_tokens", null]);
  const stopped = await client.messages.create({
    ...body,
    max_tokens: 50,
    stop_sequences: ["xyz", " th"],
  });
  assert.deepEqual([stopped.stop_reason, stopped.stop_sequence], ["stop_sequence", " th"]);
  assert.equal(stopped.content[0]?.type === "text" && stopped.content[0].text, "one two");
});

test("tokens of a message are counted", async (t) => {
  const { url } = await serve(t);
  const count = await anthropic(url).messages.countTokens({ model: "fake", messages: hello });
  assert.deepEqual(count, { input_tokens: "<user>hi\n<assistant>".length });
});

test("errors of messages have Anthropic's shape, before a stream and within it", async (t) => {
  const keys = { options: { apiKeys: [{ name: "a", key: "right", limits: {} }] } } as never;
  const closed = await serve(t, keys);
  const client = anthropic(closed.url, "wrong");
  const body = { model: "fake", max_tokens: 9, messages: hello };
  await assert.rejects(client.messages.create(body), Anthropic.AuthenticationError);
  await anthropic(closed.url, "right").messages.create(body);

  const failure = { after: 1, code: "engine_failed", message: "broken" } as const;
  const { url } = await serve(t, { failure });
  const unknown = await post(`${url}/v1/messages`, { ...body, model: "other" });
  assert.equal(unknown.status, 404);
  assert.deepEqual(await unknown.json(), {
    type: "error",
    error: {
      type: "not_found_error",
      message: "The model `other` does not exist. GET /v1/models lists those that do.",
    },
  });
  const stream = anthropic(url).messages.stream(body);
  await assert.rejects(stream.finalMessage(), /api_error.*broken/);
});

test("what a message cannot be is refused by its field", async (t) => {
  const { url } = await serve(t);
  const cases: [body: object, message: RegExp][] = [
    [{ messages: hello }, /^max_tokens must be an integer of at least 1, not absent/],
    [{ max_tokens: 5 }, /^messages must be an array of messages/],
    [{ max_tokens: 5, messages: [{ role: "boss", content: "" }] }, /^messages\[0\]\.role must be/],
    [
      { max_tokens: 5, messages: [{ role: "user", content: [{ type: "image" }] }] },
      /messages\[0\]\.content\[0\] is not supported: a block of type "image"/,
    ],
    [{ max_tokens: 5, messages: hello, temperature: 1.5 }, /^temperature must be/],
    [{ max_tokens: 5000, messages: hello }, /maximum context length is 512/],
    [
      { max_tokens: 5, messages: hello, thinking: { type: "enabled", budget_tokens: 2000 } },
      /^thinking is not supported/,
    ],
    [
      { max_tokens: 5, messages: hello, tools: [{ type: "bash_20250124", name: "bash" }] },
      /^tools\[0\]\.type is not supported/,
    ],
  ];
  for (const [body, message] of cases) {
    const response = await post(`${url}/v1/messages`, { model: "fake", ...body });
    assert.equal(response.status, 400, JSON.stringify(body));
    const { type, error } = (await response.json()) as {
      type: string;
      error: Record<string, string>;
    };
    assert.equal(type, "error");
    assert.equal(error.type, "invalid_request_error");
    assert.match(error.message ?? "", message);
  }
});
