import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { post, serve } from "./harness.js";

function promptOf(request: { prompt: readonly number[] } | undefined): string {
  return Buffer.from(request?.prompt ?? []).toString("utf8");
}

test("a response is answered whole", async (t) => {
  const { client, generator } = await serve(t, { reply: () => "Hé!", cachedTokens: 2 });
  const response = await client.responses.create({
    model: "fake",
    instructions: "Be brief.",
    input: "hi",
    temperature: 0.5,
    top_p: 0.9,
    max_output_tokens: 50,
    metadata: { a: "b" },
  });
  assert.match(response.id, /^resp_[0-9a-f]{32}$/);
  assert.equal(response.object, "response");
  assert.equal(response.status, "completed");
  assert.equal(response.output_text, "Hé!");
  assert.equal(response.instructions, "Be brief.");
  assert.equal(response.temperature, 0.5);
  assert.deepEqual(response.metadata, { a: "b" });
  assert.deepEqual(response.usage, {
    input_tokens: 38,
    input_tokens_details: { cached_tokens: 2, cache_write_tokens: 0 },
    output_tokens: 5,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: 43,
  });
  const [request] = generator.requests;
  assert.equal(promptOf(request), "<system>Be brief.\n<user>hi\n<assistant>");
  assert.equal(request?.sampling.temperature, 0.5);
  assert.equal(request?.maxTokens, 50);
});

test("a response's input may be items of every kind that is text", async (t) => {
  const { client, generator } = await serve(t, { reply: () => "ok" });
  await client.responses.create({
    model: "tuned",
    input: [
      { role: "developer", content: "be kind" },
      { role: "user", content: [{ type: "input_text", text: "a" }] },
      {
        type: "message",
        id: "msg_1",
        role: "assistant",
        status: "completed",
        content: [{ type: "output_text", text: "b", annotations: [] }],
      },
      { type: "function_call", call_id: "c1", name: "f", arguments: "{}" },
      { type: "function_call_output", call_id: "c1", output: "42" },
    ],
  });
  assert.equal(
    promptOf(generator.requests[0]),
    '<developer>be kind\n<user>a\n<assistant>b\n<assistant>{"name":"f","arguments":{}}\n' +
      "<user>Result of c1: 42\n<assistant>",
  );
});

test("the openai client reads a streamed response's events in OpenAI's order", async (t) => {
  const { client } = await serve(t, { reply: () => "añb" });
  const types: string[] = [];
  const stream = client.responses.stream({ model: "fake", input: "hi" });
  let next = 0;
  for await (const event of stream) {
    assert.equal(event.sequence_number, next++);
    if (types.at(-1) !== event.type) types.push(event.type);
  }
  assert.deepEqual(types, [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
  ]);
  const final = await stream.finalResponse();
  assert.equal(final.output_text, "añb");
  assert.equal(final.status, "completed");
  assert.equal(final.usage?.output_tokens, 5);
});

test("a response that reaches max_output_tokens is incomplete, streamed and not", async (t) => {
  const { client } = await serve(t, { reply: () => "abcdef" });
  const body = { model: "fake", input: "hi", max_output_tokens: 3 };
  const whole = await client.responses.create(body);
  assert.equal(whole.status, "incomplete");
  assert.deepEqual(whole.incomplete_details, { reason: "max_output_tokens" });
  const events = [];
  for await (const event of await client.responses.create({ ...body, stream: true })) {
    events.push(event);
  }
  const last = events.at(-1);
  assert.ok(last?.type === "response.incomplete");
  assert.equal(last.response.output[0]?.type, "message");
});

test("a response gives log-probabilities where they are included", async (t) => {
  const { client } = await serve(t, { reply: () => "a" });
  const response = await client.responses.create({
    model: "fake",
    input: "hi",
    include: ["message.output_text.logprobs"],
    top_logprobs: 2,
  });
  const [item] = response.output;
  const part = item?.type === "message" ? item.content[0] : undefined;
  assert.ok(part?.type === "output_text");
  assert.equal(part.logprobs?.[0]?.token, "a");
  assert.equal(part.logprobs?.[0]?.top_logprobs.length, 2);
});

test("a long response with log-probabilities is streamed whole, its last events too", async (t) => {
  const { client } = await serve(t, { reply: () => "a".repeat(300) });
  const stream = await client.responses.create({
    ...{ model: "fake", input: "hi", max_output_tokens: 200, top_logprobs: 20, stream: true },
    include: ["message.output_text.logprobs"],
  });
  let deltas = 0;
  const shown: (number | undefined)[] = [];
  const numbers: number[] = [];
  for await (const event of stream) {
    numbers.push(event.sequence_number);
    if (event.type === "response.output_text.delta") deltas += event.logprobs.length;
    if (event.type === "response.output_text.done") shown.push(event.logprobs.length);
    if (event.type !== "response.incomplete") continue;
    const [item] = event.response.output;
    const part = item?.type === "message" ? item.content[0] : undefined;
    shown.push(part?.type === "output_text" ? part.logprobs?.length : undefined);
  }
  assert.deepEqual([deltas, ...shown], [200, 200, 200]);
  assert.deepEqual(numbers, [...numbers.keys()]);
});

test("a failure within a streamed response is told as an event", async (t) => {
  const failure = { after: 1, code: "engine_failed", message: "broken" } as const;
  const { url } = await serve(t, { failure });
  const body = { model: "fake", input: "hi", stream: true };
  const text = await (await post(`${url}/v1/responses`, body)).text();
  assert.match(
    text,
    /event: error\ndata: \{"type":"error","sequence_number":5,"code":"engine_failed","message":"broken","param":null\}\n\n/,
  );
  assert.match(text, /event: response.failed\ndata: .*"status":"failed".*\n\n$/);
});

test("what a response cannot be is refused in this API's words", async (t) => {
  const { client } = await serve(t);
  const cases: [body: object, param: string, message: RegExp][] = [
    [{}, "input", /^input must be a string or an array of items, not absent\.$/],
    [{ input: [] }, "input", /^input must be an array of at least one item/],
    [{ input: [{ type: "item_reference", id: "x" }] }, "input[0].type", /item_reference/],
    [{ input: [{ role: "boss", content: "a" }] }, "input", /^input must be one of system/],
    [
      { input: [{ role: "user", content: [{ type: "input_image" }] }] },
      "input[0].content[0]",
      /reads text only/,
    ],
    [{ input: "a", max_output_tokens: 0 }, "max_output_tokens", /^max_output_tokens must be/],
    [{ input: "a", max_output_tokens: 5000 }, "input", /maximum context length is 512/],
    [{ input: "a", previous_response_id: "resp_1" }, "previous_response_id", /keeps no responses/],
    [{ input: "a", store: true }, "store", /keeps no responses/],
    [{ input: "a", background: true }, "background", /not supported/],
    [{ input: "a", tools: [{ type: "web_search" }] }, "tools[0].type", /no tools of its own/],
    [{ input: "a", model: "other" }, "model", /does not exist/],
  ];
  for (const [body, param, message] of cases) {
    const create = client.responses.create({ model: "fake", ...body } as never);
    const error = await create.then(
      () => assert.fail(JSON.stringify(body)),
      (caught: unknown) => caught,
    );
    assert.ok(error instanceof OpenAI.APIError, JSON.stringify(body));
    assert.equal(error.param, param, JSON.stringify(body));
    assert.match(
      JSON.stringify(error.error),
      new RegExp(message.source.replace(/^\^/, '"message":"').replace(/\$$/, "")),
    );
  }
});
