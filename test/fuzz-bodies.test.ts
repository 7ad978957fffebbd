import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { EncoderThread } from "../src/encoders/encoder.js";
import { fakeContext } from "../src/engine/fake.js";
import { post, serve } from "./harness.js";

const ENCODER = fileURLToPath(new URL("../../test/fixtures/encoder", import.meta.url));

/** Values that fields of some route like, beside anything at all. */
const liked = fc.constantFrom<unknown>(
  "fake",
  "encoder",
  "hi",
  "",
  "user",
  "assistant",
  "tool",
  "message",
  "text",
  "input_text",
  "function",
  "function_call",
  "function_call_output",
  "tool_use",
  "tool_result",
  "json_schema",
  "auto",
  null,
  true,
  0,
  1,
  3,
  300,
);

const FIELDS = [
  "model",
  "input",
  "messages",
  "prompt",
  "tokens",
  "role",
  "type",
  "content",
  "text",
  "format",
  "schema",
  "call_id",
  "name",
  "arguments",
  "output",
  "id",
  "tool_use_id",
  "system",
  "instructions",
  "max_tokens",
  "max_output_tokens",
  "tools",
  "tool_choice",
  "include",
  "stop",
  "stop_sequences",
  "temperature",
  "output_config",
  "stream",
  "encoding_format",
];

const { value: anything } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    liked,
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom(...FIELDS), tie("value"), { maxKeys: 6 }),
    fc.jsonValue({ maxDepth: 1 }),
  ),
}));

/** Bodies that get past the first checks often enough. */
const body = fc
  .tuple(
    fc.dictionary(fc.constantFrom(...FIELDS), anything, { maxKeys: 8 }),
    fc.constantFrom("fake", "fake", "encoder", 7),
  )
  .map(([fields, model]) => ({ max_tokens: 3, max_output_tokens: 3, ...fields, model }));

const ROUTES = [
  "/v1/completions",
  "/v1/chat/completions",
  "/v1/responses",
  "/v1/messages",
  "/v1/messages/count_tokens",
  "/v1/embeddings",
  "/tokenize",
  "/detokenize",
] as const;

test("no JSON body is a fault of the server, on any route", async (t) => {
  const encoder = await EncoderThread.start(ENCODER, 1);
  t.after(() => encoder.close());
  const { url, logged } = await serve(t, {
    context: (generator) => fakeContext(generator, { encoder }),
  });
  const check = async (route: string, sent: unknown) => {
    const response = await post(`${url}${route}`, sent);
    const text = await response.text();
    assert.ok(response.status < 500, `${route} ${JSON.stringify(sent)}: ${text}`);
    if (response.status !== 200) assert.notEqual(JSON.parse(text).error.message, "");
  };
  const property = fc.asyncProperty(fc.constantFrom(...ROUTES), body, check);
  await fc.assert(property, { numRuns: 1500 });
  const faults = logged.filter(({ message }) => !message.includes("field that is unknown"));
  assert.deepEqual(faults, []);
});
