import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { generateText, jsonSchema, tool } from "ai";
import OpenAI from "openai";
import type { ApiContext } from "../src/api/context.js";
import { type FakeGenerator, fakeContext } from "../src/engine/fake.js";
import { serve } from "./harness.js";

// Calls of functions as the Responses and Messages APIs tell them. The grammars are tested elsewhere:
// here the model says what it is told.

const CALLS =
  '{"name": "timer", "arguments": {"minutes": 25}}\n{"name": "note", "arguments": {"text": "é}"}}';

/** Allows every token. */
const anything = {
  bits: new Uint32Array(16).fill(0xffffffff),
  failure: null,
  made: Promise.resolve(),
  accept: () => {},
  close: () => {},
};
const grammars = {
  compile: async () => ({ open: () => anything }),
} as unknown as NonNullable<ApiContext["grammars"]>;

const callsTools = {
  reply: () => CALLS,
  context: (generator: FakeGenerator) => fakeContext(generator, { grammars, maxModelLen: 4096 }),
};

const parameters = { type: "object", properties: {} };

test("a response holds its calls as items, whole and streamed", async (t) => {
  const { url, generator } = await serve(t, callsTools);
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
  const tools = ["timer", "note"].map((name) => ({
    type: "function" as const,
    name,
    parameters,
    strict: false,
  }));
  const body = { model: "fake", input: "25 minutes", tools, tool_choice: "required" as const };
  const shown = (response: OpenAI.Responses.Response) =>
    response.output.map((item) =>
      item.type === "function_call" ? [item.name, item.arguments, item.status] : item.type,
    );
  const expected = [
    ["timer", '{"minutes": 25}', "completed"],
    ["note", '{"text": "é}"}', "completed"],
  ];
  const whole = await client.responses.create(body);
  assert.deepEqual(shown(whole), expected);
  assert.equal(whole.status, "completed");
  assert.deepEqual(whole.tools, tools);
  const stream = client.responses.stream(body);
  const types: string[] = [];
  for await (const { type } of stream) if (types.at(-1) !== type) types.push(type);
  const call = [
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
  ];
  assert.deepEqual(types, [
    "response.created",
    "response.in_progress",
    ...call,
    ...call,
    "response.completed",
  ]);
  assert.deepEqual(shown(await stream.finalResponse()), expected);

  const [first] = whole.output;
  assert.ok(first?.type === "function_call");
  await client.responses.create({
    ...body,
    input: [
      { role: "user", content: "25 minutes" },
      ...(whole.output as OpenAI.Responses.ResponseInputItem[]),
      { type: "function_call_output", call_id: first.call_id, output: "set" },
    ],
  });
  const prompt = Buffer.from(generator.requests.at(-1)?.prompt ?? []).toString("utf8");
  assert.match(prompt, new RegExp(`Result of ${first.call_id}: set`));
});

test("a message holds its calls as tool_use blocks, whole and streamed", async (t) => {
  const { url } = await serve(t, callsTools);
  const client = new Anthropic({ baseURL: url, apiKey: "none" });
  const body: Anthropic.MessageCreateParamsNonStreaming = {
    model: "fake",
    max_tokens: 200,
    messages: [{ role: "user", content: "25 minutes" }],
    tools: ["timer", "note"].map((name) => ({ name, input_schema: { type: "object" as const } })),
    tool_choice: { type: "any" },
  };
  const shown = ({ content }: Anthropic.Message) =>
    content.map((block) => (block.type === "tool_use" ? [block.name, block.input] : block.type));
  const expected = [
    ["timer", { minutes: 25 }],
    ["note", { text: "é}" }],
  ];
  const whole = await client.messages.create(body);
  assert.deepEqual(shown(whole), expected);
  assert.equal(whole.stop_reason, "tool_use");
  const final = await client.messages.stream(body).finalMessage();
  assert.deepEqual(shown(final), expected);
  assert.equal(final.stop_reason, "tool_use");
  const cut = await client.messages.create({ ...body, max_tokens: 60 });
  assert.deepEqual(shown(cut), expected.slice(0, 1));
  assert.equal(cut.stop_reason, "max_tokens");
});

test("the AI SDK gets the calls of a response", async (t) => {
  const { url } = await serve(t, callsTools);
  const model = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" })("fake");
  const described = tool({
    inputSchema: jsonSchema<object>({ type: "object", properties: {} }),
    execute: undefined as never,
  });
  const { toolCalls, finishReason } = await generateText({
    model,
    prompt: "25 minutes",
    tools: { timer: described, note: described },
  });
  assert.deepEqual(
    toolCalls.map(({ toolName, input }) => [toolName, input]),
    [
      ["timer", { minutes: 25 }],
      ["note", { text: "é}" }],
    ],
  );
  assert.equal(finishReason, "tool-calls");
});
