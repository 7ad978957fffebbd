import assert from "node:assert/strict";
import { test } from "node:test";
import type { APIError } from "openai";
import type { ChatCompletionTool } from "openai/resources";
import { serveWithGrammars } from "./support/grammars.js";

/** Answers that are bound to a form, by the fake model: it says what it wants where the grammar lets it. */

const messages = [{ role: "user" as const, content: "hi" }];

const tools: ChatCompletionTool[] = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: {
        type: "object",
        properties: { city: { type: "string" } },
        required: ["city"],
      },
    },
  },
  { type: "function", function: { name: "stop_timer" } },
];

const call = (name: string, args: object) => JSON.stringify({ name, arguments: args });

test("an answer that would leave its JSON Schema is held to it", async (t) => {
  const { client } = await serveWithGrammars(t, { reply: () => `{"mood":"furious","age":7}` });
  const schema = {
    type: "object",
    properties: { mood: { enum: ["fine", "sad"] }, age: { type: "integer", maximum: 9 } },
    required: ["mood", "age"],
    additionalProperties: false,
  };
  const { choices } = await client.chat.completions.create({
    model: "fake",
    messages,
    response_format: { type: "json_schema", json_schema: { name: "x", schema, strict: true } },
    max_tokens: 60,
  });
  const answer = JSON.parse(choices[0]!.message.content!) as { mood: string; age: number };
  assert.equal(answer.mood, "fine");
  assert.ok(answer.age <= 9);
  assert.equal(choices[0]!.finish_reason, "stop");
});

test("json_object, expressions, choices and grammars bind chats and completions", async (t) => {
  const { client } = await serveWithGrammars(t, { reply: () => "{}maybe" });
  const ask = async (extra: object) => {
    const body = { model: "fake", prompt: "x", max_tokens: 20, ...extra };
    const { choices } = await client.completions.create(body);
    return choices[0]!.text;
  };
  assert.equal(await ask({ response_format: { type: "json_object" } }), "{}");
  assert.match(await ask({ guided_regex: "[a-c]{3}\\d" }), /^[a-c]{3}\d$/);
  assert.match(await ask({ guided_choice: ["yes", "no"] }), /^(yes|no)$/);
  assert.match(await ask({ structured_outputs: { choice: ["up", "down"] } }), /^(up|down)$/);
  assert.equal(await ask({ grammar: 'root ::= "a"{2} "b"' }), "aab");
  assert.equal(await ask({ guided_json: '{"const": 5}' }), "5");
});

test("a form that cannot be held is refused by its field", async (t) => {
  const { client } = await serveWithGrammars(t, {});
  const schema = { type: "object", properties: { a: { type: "array", uniqueItems: true } } };
  const cases: readonly (readonly [object, string, RegExp])[] = [
    [
      { response_format: { type: "json_schema", json_schema: { name: "x", schema } } },
      "response_format.json_schema.schema.properties.a",
      /"uniqueItems" is not supported/,
    ],
    [{ response_format: { type: "xml" } }, "response_format.type", /must be "text", "json_object"/],
    [{ guided_regex: "a(?=b)" }, "guided_regex", /group \(\?= is not supported/],
    [{ guided_choice: [] }, "guided_choice", /array of texts/],
    [{ grammar: 'root ::= "a' }, "grammar", /Expect " in string literal/],
    [{ grammar: 'root ::= "a"', guided_regex: "a" }, "grammar", /together with guided_regex/],
    [{ grammar: 'root ::= "a"', ignore_eos: true }, "ignore_eos", /together with grammar/],
    [{ tools, guided_regex: "a" }, "guided_regex", /together with tools/],
  ];
  for (const [extra, param, message] of cases) {
    const asked = client.chat.completions.create({ model: "fake", messages, ...extra });
    await assert.rejects(asked as Promise<unknown>, (error: APIError) => {
      assert.deepEqual([error.status, error.param], [400, param]);
      assert.match(error.message, message);
      return true;
    });
  }
});

test("a required call comes as a call, whatever the model wanted to say", async (t) => {
  const { client, generator } = await serveWithGrammars(t, { reply: () => "No, I won't." });
  const { choices } = await client.chat.completions.create({
    model: "fake",
    messages,
    tools,
    tool_choice: { type: "function", function: { name: "stop_timer" } },
  });
  const { message, finish_reason } = choices[0]!;
  assert.equal(finish_reason, "tool_calls");
  assert.equal(message.content, null);
  const [made] = message.tool_calls!;
  assert.equal(made!.type, "function");
  assert.match(made!.id, /^call_/);
  assert.deepEqual("function" in made! && made.function, { name: "stop_timer", arguments: "{}" });
  const prompt = Buffer.from(generator.requests[0]!.prompt).toString();
  assert.match(prompt, /^<system>You can call these functions:\n\{"name":"get_weather"/);
});

test("with auto the model chooses between text and calls", async (t) => {
  for (const [reply, content, count] of [
    ["It is sunny. {nice}", "It is sunny. {nice}", 0],
    [call("get_weather", { city: "Ulm" }), null, 1],
    [`${call("get_weather", { city: "Ulm" })}\n${call("stop_timer", {})}`, null, 2],
  ] as const) {
    const { client } = await serveWithGrammars(t, { reply: () => reply });
    const { choices } = await client.chat.completions.create({ model: "fake", messages, tools });
    const { message, finish_reason } = choices[0]!;
    assert.equal(message.content, content);
    assert.equal(message.tool_calls?.length ?? 0, count);
    assert.equal(finish_reason, count === 0 ? "stop" : "tool_calls");
  }
});

test("streamed calls begin with their name, and their arguments add up", async (t) => {
  const args = { city: 'S\u00e3o "P{aulo' };
  const reply = `${call("get_weather", args)}\n${call("stop_timer", {})}`;
  const { client } = await serveWithGrammars(t, { reply: () => reply });
  const stream = await client.chat.completions.create({
    model: "fake",
    messages,
    tools,
    stream: true,
  });
  const calls: { id: string; name: string; arguments: string }[] = [];
  let finish: string | null = null;
  for await (const { choices } of stream) {
    const { delta, finish_reason } = choices[0]!;
    finish = finish_reason ?? finish;
    for (const { index, id, type, function: part } of delta.tool_calls ?? []) {
      if (id !== undefined) {
        assert.deepEqual([type, index], ["function", calls.length]);
        calls.push({ id, name: part!.name!, arguments: "" });
      }
      calls[index]!.arguments += part!.arguments ?? "";
    }
    assert.ok(!delta.content, "no text beside calls");
  }
  assert.equal(finish, "tool_calls");
  assert.deepEqual(
    calls.map(({ name, arguments: text }) => [name, JSON.parse(text)]),
    [
      ["get_weather", args],
      ["stop_timer", {}],
    ],
  );
  assert.notEqual(calls[0]!.id, calls[1]!.id);
});

test("parallel_tool_calls false allows one call, tool_choice none none", async (t) => {
  const reply = `${call("stop_timer", {})}\n${call("stop_timer", {})}`;
  const { client } = await serveWithGrammars(t, { reply: () => reply });
  const ask = (extra: object) =>
    client.chat.completions.create({ model: "fake", messages, tools, ...extra });
  const one = await ask({ parallel_tool_calls: false });
  assert.equal(one.choices[0]!.message.tool_calls?.length, 1);
  const none = await ask({ tool_choice: "none" });
  assert.equal(none.choices[0]!.message.content, reply);
});

test("wrong tools are refused by field", async (t) => {
  const { client } = await serveWithGrammars(t, {});
  const strict = (parameters: object) => ({
    tools: [{ type: "function", function: { name: "f", strict: true, parameters } }],
  });
  const cases: readonly (readonly [object, string])[] = [
    [{ tools: {} }, "tools"],
    [{ tools: [{ type: "search" }] }, "tools[0].type"],
    [{ tools: [{ type: "function", function: { name: "a b" } }] }, "tools[0].function.name"],
    [{ tools: [tools[1], tools[1]] }, "tools[1].function.name"],
    [{ tool_choice: "required" }, "tools"],
    [{ tools, tool_choice: "always" }, "tool_choice"],
    [
      { tools, tool_choice: { type: "function", function: { name: "g" } } },
      "tool_choice.function.name",
    ],
    [
      strict({ type: "object", properties: { a: { type: "integer", multipleOf: 2 } } }),
      "tools[0].function.parameters.properties.a",
    ],
    [strict({ type: "string" }), "tools[0].function.parameters.type"],
  ];
  for (const [extra, param] of cases) {
    const body = { model: "fake", messages, ...extra };
    await assert.rejects(client.chat.completions.create(body as never), (error: APIError) => {
      assert.deepEqual([error.status, error.param], [400, param], error.message);
      return true;
    });
  }
});
