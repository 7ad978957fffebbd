import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, streamText } from "ai";
import { serve } from "./harness.js";

// A client that shares no code with OpenAI's: Vercel's AI SDK, over chats and over responses.

test("the AI SDK chats, whole and streamed", async (t) => {
  const { url } = await serve(t, { reply: () => "Hé 👋" });
  const provider = createOpenAICompatible({
    name: "smore",
    baseURL: `${url}/v1`,
    includeUsage: true,
  });
  const model = provider("fake");
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
  const provider = createOpenAICompatible({ name: "smore", baseURL: `${url}/v1` });
  const { embedding } = await embed({ model: provider.embeddingModel("fake"), value: "hi" });
  assert.equal(Math.hypot(...embedding).toFixed(3), "1.000");
});
