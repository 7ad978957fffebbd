import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { payloads, post, until } from "./harness.js";
import { serve as serveTiny, TINY } from "./support/command.js";
import { serveWithGrammars } from "./support/grammars.js";
import { mutated } from "./support/mutations.js";

const messages = [
  { role: "system", content: "be brief" },
  { role: "user", content: [{ type: "text", text: "hi" }] },
];
const parameters = {
  type: "object",
  properties: { city: { type: "string", maxLength: 5 }, days: { type: "integer", maximum: 9 } },
  required: ["city"],
};
const called = {
  role: "assistant",
  content: null,
  tool_calls: [{ id: "1", type: "function", function: { name: "f", arguments: "{}" } }],
};
const described = { name: "f", description: "does", parameters, strict: true };
const tools = [{ type: "function", function: described }];
const sampling = {
  temperature: 0.5,
  top_p: 0.9,
  top_k: 5,
  min_p: 0.1,
  presence_penalty: 1,
  frequency_penalty: 0.5,
  repetition_penalty: 1.1,
  logit_bias: { "65": 5 },
  seed: 7,
  stop: ["zz", "END"],
};
const answer = { model: "fake", max_tokens: 8 };

const BODIES: readonly (readonly [route: string, body: object])[] = [
  ["/v1/completions", { ...answer, prompt: "hi", ...sampling, n: 2, best_of: 3, logprobs: 2 }],
  ["/v1/completions", { ...answer, prompt: [[1, 2], [3]], echo: true, logprobs: 1 }],
  [
    "/v1/completions",
    { ...answer, prompt: ["a", "b"], stream: true, stream_options: { include_usage: true } },
  ],
  ["/v1/completions", { ...answer, prompt: "x", guided_regex: "[a-c]{3}\\d", ignore_eos: false }],
  ["/v1/completions", { ...answer, prompt: "x", grammar: 'root ::= "a" b\nb ::= "x" | "y"' }],
  ["/v1/completions", { ...answer, prompt: "x", structured_outputs: { choice: ["up", "down"] } }],
  ["/v1/chat/completions", { ...answer, messages, ...sampling, logprobs: true, top_logprobs: 2 }],
  [
    "/v1/chat/completions",
    { ...answer, messages: [...messages, { role: "assistant", content: "a" }], n: 2 },
  ],
  [
    "/v1/chat/completions",
    {
      ...answer,
      messages: [...messages, called, { role: "tool", tool_call_id: "1", content: "42" }],
      tools,
      tool_choice: "auto",
      parallel_tool_calls: true,
      stream: true,
    },
  ],
  [
    "/v1/chat/completions",
    { ...answer, messages, tools, tool_choice: { type: "function", function: { name: "f" } } },
  ],
  [
    "/v1/chat/completions",
    {
      ...answer,
      messages,
      response_format: { type: "json_schema", json_schema: { name: "x", schema: parameters } },
    },
  ],
  [
    "/v1/responses",
    {
      model: "fake",
      max_output_tokens: 8,
      instructions: "be brief",
      input: [
        { role: "user", content: [{ type: "input_text", text: "a" }] },
        { type: "function_call", call_id: "c", name: "f", arguments: "{}" },
        { type: "function_call_output", call_id: "c", output: "42" },
      ],
      tools: [{ type: "function", ...described }],
      text: { format: { type: "text" } },
      include: ["message.output_text.logprobs"],
      metadata: { a: "b" },
    },
  ],
  ["/v1/responses", { model: "fake", max_output_tokens: 8, input: "hi", stream: true }],
  [
    "/v1/messages",
    {
      ...answer,
      system: [{ type: "text", text: "be brief" }],
      messages: [
        { role: "user", content: "hi" },
        { role: "assistant", content: [{ type: "tool_use", id: "t", name: "f", input: {} }] },
        { role: "user", content: [{ type: "tool_result", tool_use_id: "t", content: "42" }] },
      ],
      tools: [{ name: "f", input_schema: parameters }],
      tool_choice: { type: "auto" },
      stop_sequences: ["zz"],
    },
  ],
  ["/v1/messages", { ...answer, messages: [{ role: "user", content: "hi" }], stream: true }],
  ["/v1/messages/count_tokens", { model: "fake", messages: [{ role: "user", content: "hi" }] }],
  ["/v1/embeddings", { model: "fake", input: ["a", "b"], dimensions: 2 }],
  ["/v1/embeddings", { model: "tuned", input: [[1, 2], [3]], encoding_format: "base64" }],
  ["/tokenize", { model: "fake", prompt: "hi", add_special_tokens: true, return_token_strs: true }],
  ["/tokenize", { messages, add_generation_prompt: true, continue_final_message: false }],
  ["/detokenize", { model: "fake", tokens: [72, 105] }],
  ["/v1/load_lora_adapter", { lora_name: "a", lora_path: "/adapters/a", load_inplace: true }],
  ["/v1/unload_lora_adapter", { lora_name: "a" }],
];

const ANTHROPIC = /^\/v1\/messages/;

function checkError(route: string, text: string): void {
  const body = JSON.parse(text) as { type?: string; error: Record<string, unknown> };
  if (ANTHROPIC.test(route)) {
    assert.equal(body.type, "error");
    assert.deepEqual(Object.keys(body.error).sort(), ["message", "type"]);
  } else {
    assert.deepEqual(Object.keys(body), ["error"]);
    assert.deepEqual(Object.keys(body.error), ["message", "type", "param", "code"]);
    for (const field of ["param", "code"]) {
      const value = body.error[field];
      assert.ok(value === null || typeof value === "string", text);
    }
  }
  assert.ok(typeof body.error.message === "string" && body.error.message !== "", text);
  assert.ok(!/[\r\n]/.test(body.error.message), text);
}

/** Events with names, or data alone up to [DONE]. */
function checkStream(route: string, text: string): void {
  if (!ANTHROPIC.test(route) && route !== "/v1/responses") {
    const events = payloads(text);
    assert.equal(events.pop(), "[DONE]");
    for (const event of events) assert.equal(typeof JSON.parse(event), "object");
    return;
  }
  assert.ok(text.endsWith("\n\n"));
  for (const event of text.slice(0, -2).split("\n\n")) {
    const [, name, data] = /^event: (\S+)\ndata: (.*)$/.exec(event) ?? [];
    assert.equal((JSON.parse(data ?? "") as { type: string }).type, name);
  }
}

/** Checks an answer of any status that a client can be to blame for; returns the status. */
async function checkAnswer(url: string, route: string, body: unknown): Promise<number> {
  const response = await post(`${url}${route}`, body);
  const { status } = response;
  const text = await response.text();
  const shown = `${route} ${JSON.stringify(body)}: ${status} ${text.slice(0, 300)}`;
  assert.ok(status === 200 || (status >= 400 && status < 500), shown);
  const type = response.headers.get("content-type") ?? "";
  if (status !== 200) checkError(route, text);
  else if (type === "text/event-stream") checkStream(route, text);
  else assert.equal(typeof JSON.parse(text), "object", shown);
  return status;
}

test("every body that was right until it changed gets a well-formed answer, and none is a fault", async (t) => {
  const { url, generator, logged } = await serveWithGrammars(t, { reply: () => "Hé {x}" });
  const statuses = new Map<number, number>();
  await fc.assert(
    fc.asyncProperty(mutated(BODIES), async ([route, body]) => {
      const status = await checkAnswer(url, route, body);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }),
    { numRuns: 1500 },
  );
  t.diagnostic(`${[...statuses].map(([status, count]) => `${status}: ${count}`).join(", ")}`);
  // Neither all right nor all wrong: otherwise the mutations would test little.
  assert.ok((statuses.get(200) ?? 0) > 150 && (statuses.get(400) ?? 0) > 150);
  await until(() => generator.running === 0, "nothing runs on");
  const faults = logged.filter(({ message }) => !message.includes("field that is unknown"));
  assert.deepEqual(faults, []);
});

test("the engine takes whatever sampling a body may ask for", async (t) => {
  const { url, child } = await serveTiny(t, ["--adapters-dir", join(TINY, "adapters")]);
  const ids = { model: "tiny", max_tokens: 8, prompt: [1, 2, 3, 4] };
  const bodies: readonly (readonly [route: string, body: object])[] = [
    ["/v1/completions", { ...ids, ...sampling, stop: undefined, ignore_eos: true }],
    ["/v1/completions", { ...ids, prompt: [[1, 2], [3]], echo: true, logprobs: 3, n: 2 }],
    ["/v1/completions", { ...ids, model: "smore-noisy", best_of: 2, logprobs: 0, stream: false }],
    ["/v1/completions", { ...ids, model: "lora", stream: true, priority: 3, seed: -1 }],
    ["/v1/embeddings", { model: "lora", input: [[1, 2], [3]], dimensions: 4 }],
  ];
  const alone = async () => {
    const response = await post(`${url}/v1/completions`, { ...ids, temperature: 0 });
    const { choices } = (await response.json()) as { choices: object[] };
    return choices;
  };
  const before = await alone();
  await fc.assert(
    fc.asyncProperty(mutated(bodies), async ([route, body]) => {
      await checkAnswer(url, route, body);
    }),
    { numRuns: 250 },
  );
  assert.deepEqual(await alone(), before);
  assert.equal(child.exitCode, null);
});
