import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import OpenAI from "openai";
import type {
  ChatCompletionMessageParam,
  ChatCompletionTool,
  ChatCompletionToolChoiceOption,
} from "openai/resources";
import { serve } from "./support/command.js";
import { FIXTURES } from "./support/goldens.js";

/** Forms and tools on the default model and its adapter: real weights, a real vocabulary, one server. */

const MODEL = process.env.SMORE_TEST_MODEL ?? "";
const skip = MODEL === "" ? "SMORE_TEST_MODEL is not set" : false;

const ADAPTER = "function-calls";
const FOLDER = fileURLToPath(new URL(`../../models/adapters/${ADAPTER}`, import.meta.url));

const trained: {
  readonly cases: readonly {
    readonly text: string;
    readonly greedy_text: string;
    readonly greedy_gap: readonly number[];
  }[];
} = JSON.parse(readFileSync(join(FIXTURES, "trained", "golden.json"), "utf8"));

interface Call {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

/** Schemas whose longest value fits into MOST_TOKENS, so that no answer is cut off. */
const SCHEMAS: readonly Record<string, unknown>[] = [
  {
    type: "object",
    properties: {
      name: { type: "string", maxLength: 12 },
      age: { type: "integer", minimum: 0, maximum: 120 },
      mood: { enum: ["happy", "sad", "grün"] },
    },
    required: ["name", "age", "mood"],
    additionalProperties: false,
  },
  {
    type: "array",
    items: { anyOf: [{ type: "boolean" }, { type: "string", pattern: "^[a-z]{2,6}$" }] },
    minItems: 1,
    maxItems: 4,
  },
  {
    type: "object",
    properties: { when: { type: "string", format: "date" }, point: { $ref: "#/$defs/point" } },
    required: ["when"],
    additionalProperties: false,
    $defs: {
      point: {
        type: "object",
        properties: { x: { type: "integer" }, y: { type: "integer" } },
        required: ["x", "y"],
        additionalProperties: false,
      },
    },
  },
];
const MOST_TOKENS = 120;

function functionTool(name: string, properties: Readonly<Record<string, object>>) {
  const required = Object.keys(properties);
  const parameters = { type: "object", properties, required, additionalProperties: false };
  return { type: "function", function: { name, strict: true, parameters } } as const;
}

const text = { type: "string" };
const integer = { type: "integer" };
/** Some of what the adapter was trained to call. */
const TOOLS: readonly ChatCompletionTool[] = [
  functionTool("set_alarm", { time: text }),
  functionTool("send_message", { to: text, text }),
  functionTool("convert_currency", { amount: integer, from: text, to: text }),
  functionTool("book_table", { restaurant: text, people: integer, time: text }),
  functionTool("set_light", { room: { ...text, maxLength: 12 }, brightness: integer }),
];

const ajv = new Ajv2020({ strict: false, validateFormats: false, unicodeRegExp: true });
const says = (content: string): ChatCompletionMessageParam[] => [{ role: "user", content }];

test("forms and tools on the default model:", { skip }, async (server) => {
  const names = ["--served-model-name", "base", "--adapter", `${ADAPTER}=${FOLDER}`];
  const { url } = await serve(server, [
    "--model",
    MODEL,
    "--kv-memory",
    "64MiB",
    "--threads",
    "2",
    ...names,
  ]);
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

  await server.test(
    "an answer in a schema always parses and fits, however it is sampled",
    async () => {
      const asked = SCHEMAS.flatMap((schema) => [0, 1, 2, 3].map((seed) => ({ schema, seed })));
      const answers = asked.map(async ({ schema, seed }) => {
        const { choices } = await client.chat.completions.create({
          model: seed === 3 ? ADAPTER : "base",
          messages: says("Describe a person you know."),
          response_format: {
            type: "json_schema",
            json_schema: { name: "x", schema, strict: true },
          },
          temperature: seed === 0 ? 0 : 1.5,
          max_tokens: MOST_TOKENS,
          seed,
        });
        const { message, finish_reason } = choices[0]!;
        assert.equal(finish_reason, "stop", `${message.content}`);
        const value: unknown = JSON.parse(message.content!);
        assert.ok(ajv.validate(schema, value), `${message.content}: ${ajv.errorsText()}`);
      });
      await Promise.all(answers);
    },
  );

  await server.test(
    "who follows no grammar says beside those who do what it says alone",
    async () => {
      const plain = async () => {
        const body = { model: "base", messages: says("Tell me about the moon."), temperature: 0 };
        const { choices } = await client.chat.completions.create({ ...body, max_tokens: 40 });
        return choices[0]!.message.content;
      };
      const bound = async () => {
        const body = {
          model: "base",
          prompt: "Yes or no?",
          max_tokens: 40,
          ...{ guided_regex: "(ab|cd)+e" },
        };
        const { choices } = await client.completions.create(body);
        assert.match(choices[0]!.text, /^(ab|cd)*/);
      };
      const alone = await plain();
      const [together] = await Promise.all([plain(), bound(), bound(), bound()]);
      assert.equal(together, alone);
    },
  );

  interface Asked {
    readonly model: string;
    readonly content: string;
    readonly choice: ChatCompletionToolChoiceOption;
    readonly tools?: readonly ChatCompletionTool[];
    readonly parallel?: boolean;
  }

  /** As `tool_prompt` says, the adapter needs no list of the tools that it was trained to call. */
  const order = ({ model, content, choice, tools = TOOLS, parallel = true }: Asked) => ({
    model,
    messages: says(content),
    tools: [...tools],
    tool_choice: choice,
    parallel_tool_calls: parallel,
    temperature: 0,
    max_tokens: 800, // more than any answer that is bounded: 16 calls
    ...{ tool_prompt: model === ADAPTER ? "none" : "list" },
  });

  const whole = async (asked: Asked) => {
    const { choices } = await client.chat.completions.create(order(asked));
    const { message, finish_reason: reason } = choices[0]!;
    const calls = (message.tool_calls ?? []).map((call): Call => {
      assert.ok(call.type === "function");
      return { name: call.function.name, arguments: JSON.parse(call.function.arguments) };
    });
    return { content: message.content, calls, reason };
  };

  const streamed = async (asked: Asked) => {
    const made: { name: string; arguments: string; pieces: number }[] = [];
    let content = "";
    let reason = "";
    for await (const { choices } of await client.chat.completions.create({
      ...order(asked),
      stream: true,
    })) {
      const { delta, finish_reason } = choices[0]!;
      reason = finish_reason ?? reason;
      content += delta.content ?? "";
      for (const { index, function: part } of delta.tool_calls ?? []) {
        made[index] ??= { name: "", arguments: "", pieces: 0 };
        made[index].name += part?.name ?? "";
        made[index].arguments += part?.arguments ?? "";
        made[index].pieces++;
      }
    }
    return { content, made, reason };
  };

  // Where one choice was a close call, rounding may choose otherwise.
  const clear = trained.cases
    .filter(({ greedy_gap }) => Math.min(...greedy_gap) > 1)
    .map(({ text: sentence, greedy_text }) => ({
      sentence,
      call: JSON.parse(greedy_text) as Call,
    }));

  await server.test(
    "the adapter's calls come as calls: with auto, required, one at a time, streamed",
    async () => {
      assert.ok(clear.length >= 4);
      for (const { sentence, call } of clear) {
        const asked = { model: ADAPTER, content: sentence };
        const expected = { content: null, calls: [call], reason: "tool_calls" };
        const [auto, required, single, stream] = await Promise.all([
          whole({ ...asked, choice: "auto" }),
          whole({ ...asked, choice: "required" }),
          whole({ ...asked, choice: "auto", parallel: false }),
          streamed({ ...asked, choice: "auto" }),
        ]);
        assert.deepEqual(auto, expected);
        assert.deepEqual(required, expected);
        assert.deepEqual(single, expected);
        assert.deepEqual(
          [stream.content, stream.reason, stream.made.length],
          ["", "tool_calls", 1],
        );
        const [made] = stream.made;
        assert.equal(made?.name, call.name);
        assert.deepEqual(JSON.parse(made.arguments), call.arguments);
        assert.ok(made.pieces > 1, "arguments come as they are made");
      }
    },
  );

  await server.test(
    "with none the same answer is text, and a named tool is called whatever was asked",
    async () => {
      const [{ sentence, call }] = clear as [(typeof clear)[0]];
      const asked = { model: ADAPTER, content: sentence };
      const none = await whole({ ...asked, choice: "none" });
      assert.deepEqual([none.calls, none.reason], [[], "stop"]);
      assert.deepEqual(JSON.parse(none.content!), call);
      for (const model of [ADAPTER, "base"]) {
        const choice = { type: "function", function: { name: "set_light" } } as const;
        const { calls, reason } = await whole({ ...asked, model, choice });
        assert.deepEqual([calls.length, calls[0]?.name, reason], [1, "set_light", "tool_calls"]);
        assert.deepEqual(Object.keys(calls[0]!.arguments), ["room", "brightness"]);
        assert.ok(Number.isInteger(calls[0]!.arguments.brightness));
      }
    },
  );

  await server.test(
    "the base, which never learned to call, is held to calls that fit",
    async () => {
      // Bounded, so that no call is cut off.
      const time = { type: "string", maxLength: 12 };
      const minutes = { type: "integer", maximum: 999 };
      const tools = [functionTool("set_alarm", { time }), functionTool("set_timer", { minutes })];
      for (const parallel of [true, false]) {
        const content = "Wake me at seven and set a timer for five minutes.";
        const asked = { model: "base", content, tools, choice: "required", parallel } as const;
        const { calls, made } = { ...(await whole(asked)), ...(await streamed(asked)) };
        assert.ok(parallel ? calls.length >= 1 : calls.length === 1);
        assert.deepEqual(
          made.map(({ name, arguments: args }) => ({ name, arguments: JSON.parse(args) })),
          calls,
        );
        for (const { name, arguments: args } of calls) {
          const tool = tools.find((other) => "function" in other && other.function.name === name);
          assert.ok(tool !== undefined && "function" in tool);
          assert.ok(ajv.validate(tool.function.parameters!, args), ajv.errorsText());
        }
      }
    },
  );
});
