import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  APICallError,
  embed,
  generateText,
  jsonSchema,
  type LanguageModel,
  Output,
  stepCountIs,
  streamText,
  tool,
} from "ai";
import type { GenerateRequest } from "../src/scheduler/request.js";
import { serve, until } from "./harness.js";
import { serveWithGrammars } from "./support/grammars.js";

// A client that shares no code with OpenAI's: Vercel's AI SDK, over chats and over responses.

interface AbortableOrder {
  readonly model: LanguageModel;
  readonly prompt: string;
  readonly abortSignal: AbortSignal;
}

function compatible(url: string) {
  return createOpenAICompatible({
    name: "smore",
    baseURL: `${url}/v1`,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
}

test("the AI SDK chats, whole and streamed", async (t) => {
  const { url } = await serve(t, { reply: () => "Hé 👋" });
  const model = compatible(url)("fake");
  const { text, finishReason, usage } = await generateText({ model, prompt: "hi" });
  assert.deepEqual([text, finishReason, usage.outputTokens], ["Hé 👋", "stop", 9]);
  const stream = streamText({ model, prompt: "hi" });
  assert.equal(await stream.text, "Hé 👋");
  assert.equal((await stream.usage).outputTokens, 9);
});

test("the AI SDK reads responses, whole and streamed", async (t) => {
  const { url } = await serve(t, { reply: () => "Hé 👋" });
  const model = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" })("fake");
  const { text, finishReason, usage } = await generateText({ model, system: "s", prompt: "hi" });
  assert.deepEqual([text, finishReason, usage.outputTokens], ["Hé 👋", "stop", 9]);
  const stream = streamText({ model, prompt: "hi", maxOutputTokens: 3 });
  assert.equal(await stream.text, "Hé");
  assert.equal(await stream.finishReason, "length");
});

test("the AI SDK embeds", async (t) => {
  const { url } = await serve(t);
  const { embedding } = await embed({ model: compatible(url).embeddingModel("fake"), value: "hi" });
  assert.equal(Math.hypot(...embedding).toFixed(3), "1.000");
});

const weather = tool({
  description: "The weather of a city",
  inputSchema: jsonSchema<{ city: string }>({
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  }),
  execute: async ({ city }) => `rain in ${city}`,
});

/** Calls the tool once, then says what it was told. */
function callsOnce({ prompt }: GenerateRequest): string {
  const told = /Result of \S+: (.*)/.exec(Buffer.from(prompt).toString());
  return told === null ? '{"name": "weather", "arguments": {"city": "Ulm"}}' : `So: ${told[1]}.`;
}

for (const [api, provide] of [
  ["chats", (url: string) => compatible(url)("fake")],
  ["responses", (url: string) => createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" })("fake")],
] as const) {
  test(`the AI SDK runs tools over several steps of ${api}, whole and streamed`, async (t) => {
    const { url } = await serveWithGrammars(t, { reply: callsOnce });
    const order = {
      model: provide(url),
      prompt: "Is it raining in Ulm?",
      tools: { weather },
      stopWhen: stepCountIs(3),
    };
    const { text, steps } = await generateText(order);
    assert.match(text, /^So: "?rain in Ulm"?\.$/);
    assert.deepEqual(
      steps.map(({ finishReason }) => finishReason),
      ["tool-calls", "stop"],
    );
    assert.deepEqual(steps[0]?.toolCalls[0]?.input, { city: "Ulm" });
    const stream = streamText(order);
    const inputs: string[] = [];
    for await (const part of stream.fullStream) {
      if (part.type === "tool-input-delta") inputs.push(part.delta);
    }
    assert.deepEqual(JSON.parse(inputs.join("")), { city: "Ulm" });
    assert.ok(inputs.length > 1, "arguments come as they are made");
    assert.equal(await stream.text, text);
  });

  test(`the AI SDK gets an object of its schema from ${api}, whole and in parts`, async (t) => {
    const { url } = await serveWithGrammars(t, { reply: () => '{"name":"Ada","age":"old"}' });
    const schema = jsonSchema<{ name: string; age: number }>({
      type: "object",
      properties: { name: { type: "string" }, age: { type: "integer", minimum: 1, maximum: 9 } },
      required: ["name", "age"],
      additionalProperties: false,
    });
    const order = { model: provide(url), prompt: "hi", output: Output.object({ schema }) };
    const { output } = await generateText({ ...order, maxOutputTokens: 60 });
    assert.equal(output.name, "Ada");
    assert.ok(output.age >= 1 && output.age <= 9);
    const stream = streamText({ ...order, maxOutputTokens: 60 });
    const parts: object[] = [];
    for await (const part of stream.partialOutputStream) parts.push(part);
    assert.ok(parts.length > 2);
    assert.deepEqual(parts.at(-1), output);
  });

  test(`the AI SDK tells what ${api} refuse, and what fails within a stream`, async (t) => {
    const { url } = await serve(t, {
      failure: { after: 2, code: "engine_failed", message: "broken" },
    });
    const refused = generateText({ model: provide(url), prompt: "hi", topP: 2 });
    await assert.rejects(refused, (error) => {
      assert.ok(APICallError.isInstance(error), String(error));
      assert.deepEqual([error.statusCode, error.isRetryable], [400, false]);
      assert.match(error.message, /^top_p must be a number above 0 and at most 1, not 2\.$/);
      return true;
    });
    const failures: unknown[] = [];
    const stream = streamText({
      model: provide(url),
      prompt: "hi",
      onError: ({ error }) => void failures.push(error),
    });
    for await (const _ of stream.fullStream);
    assert.match(JSON.stringify(failures), /broken/);
  });

  test(`the AI SDK aborts ${api}, whole and streamed`, async (t) => {
    const { url, generator } = await serve(t, { reply: () => "x".repeat(400), tokenDelayMs: 2 });
    for (const [cancelled, run] of [
      [1, (order: AbortableOrder) => generateText(order)],
      [2, (order: AbortableOrder) => Promise.resolve(streamText(order).text)],
    ] as const) {
      const controller = new AbortController();
      const order = { model: provide(url), prompt: "hi", abortSignal: controller.signal };
      const running = run(order).then(
        () => "answered",
        () => "aborted",
      );
      await until(() => generator.running === 1, "it runs");
      controller.abort();
      await until(() => generator.cancelled === cancelled, "it is cancelled");
      assert.equal(await running, "aborted");
    }
  });
}
