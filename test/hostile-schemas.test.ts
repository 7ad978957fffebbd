import assert from "node:assert/strict";
import { test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { post } from "./harness.js";
import { serveWithGrammars } from "./support/grammars.js";

/** Schemas made to be slow, endless, huge or ignored. Each is held to the letter or refused by its place. */

const messages = [{ role: "user", content: "hi" }];
const PARAM = "response_format.json_schema.schema";

function nested(depth: number): object {
  let schema: object = { type: "string" };
  for (let i = 0; i < depth; i++) schema = { type: "array", items: schema, minItems: 1 };
  return schema;
}

function doubled(levels: number): object {
  const $defs: Record<string, object> = { d0: { type: "boolean" } };
  for (let i = 1; i <= levels; i++) {
    const half = { $ref: `#/$defs/d${i - 1}` };
    $defs[`d${i}`] = { type: "array", prefixItems: [half, half], items: false, minItems: 2 };
  }
  return { $ref: `#/$defs/d${levels}`, $defs };
}

const many = (count: number, make: (i: number) => object) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`f${i}`, make(i)]));
const string = (fields: object) => ({ type: "string", ...fields });

/** Where it is refused and why; "held": every answer fits, unless it is cut off. */
type Outcome = "held" | readonly [path: string, why: RegExp];

const HOSTILE: readonly (readonly [schema: object, outcome: Outcome])[] = [
  [
    string({ pattern: "^([a-z]{0,900}[a-z]{0,900}){0,900}!$" }),
    ["", /^\S+ cannot be compiled: compiling it took more than 2 s\.$/],
  ],
  [string({ maxLength: 1e9 }), ["", /too many rules/]],
  [string({ pattern: "(a+)+$" }), "held"],
  [string({ pattern: "^((a{0,50}){0,50}){0,50}$" }), "held"],
  [string({ pattern: "^(?=.*x).*$" }), [".pattern", /the group \(\?=/]],
  [string({ pattern: "^a{20000}$" }), [".pattern", /more than 10000 repetitions/]],
  [
    string({ pattern: `${"(".repeat(100)}a${")".repeat(100)}` }),
    [".pattern", /nested more than 50/],
  ],
  [nested(50), "held"],
  [nested(500), [".items".repeat(65), /nested over 64 deep/]],
  [{ $ref: "#" }, ["#.$ref", /refers to itself/]],
  [{ type: "array", items: { $ref: "#" } }, "held"],
  [doubled(25), "held"],
  [{ $ref: "http://169.254.169.254/schema" }, [".$ref", /must point into this schema/]],
  [
    { type: "object", properties: many(5000, () => ({ type: "null" })) },
    ["", /more than 4000 parts/],
  ],
  [
    { enum: Array.from({ length: 9000 }, (_, i) => `${i}${"w".repeat(20)}`) },
    [".enum", /is longer than/],
  ],
  [
    { type: "array", items: { type: "integer" }, uniqueItems: true },
    ["", /"uniqueItems" is not supp/],
  ],
  [
    { type: "object", properties: { a: { type: "integer", multipleOf: 7 } } },
    [".properties.a", /"multipleOf" is not supported/],
  ],
  [{ type: "object", patternProperties: { "^x": {} } }, ["", /"patternProperties" is not supp/]],
  [{ not: {} }, ["", /"not" is not supported/]],
  [JSON.parse('{"type": "object", "properties": {"__proto__": {"const": 1}}}') as object, "held"],
];

test("twenty hostile schemas are held or refused by their place, and hurt no one who follows another", async (t) => {
  assert.equal(HOSTILE.length, 20);
  const ajv = new Ajv2020({ strict: false, validateFormats: false, unicodeRegExp: true });
  const { url, generator } = await serveWithGrammars(t, {
    reply: ({ prompt }) => (prompt.length > 40 ? `["${"x".repeat(2000)}"]` : '["a","b"]'),
    tokenDelayMs: 2,
  });
  const ask = (schema: object, more: object = {}) => {
    const response_format = { type: "json_schema", json_schema: { name: "x", schema } };
    const body = { model: "fake", messages, max_tokens: 100, response_format, ...more };
    return post(`${url}/v1/chat/completions`, body);
  };
  const strings = { type: "array", items: { type: "string" } };
  const long = [{ role: "user", content: "x".repeat(50) }];
  const running = ask(strings, { messages: long, max_tokens: 3000 });
  for (const [schema, outcome] of HOSTILE) {
    const shown = JSON.stringify(schema).slice(0, 80);
    const response = await ask(schema);
    const answer = (await response.json()) as Answer;
    if (outcome === "held") {
      assert.equal(response.status, 200, `${shown}: ${answer.error?.message}`);
      const { message, finish_reason } = answer.choices[0]!;
      if (finish_reason === "length") continue;
      const value: unknown = JSON.parse(message.content);
      assert.ok(ajv.validate(schema, value), `${shown}: ${message.content}`);
      continue;
    }
    const [path, why] = outcome;
    assert.deepEqual([response.status, answer.error?.param], [400, PARAM + path], shown);
    assert.match(answer.error?.message ?? "", why);
  }
  assert.equal(generator.running, 1, "the other still runs");
  const { choices } = (await (await running).json()) as Answer;
  assert.equal(choices[0]?.finish_reason, "stop");
  assert.deepEqual(JSON.parse(choices[0].message.content), ["x".repeat(2000)]);
});

interface Answer {
  readonly error?: { readonly message: string; readonly param: string };
  readonly choices: readonly {
    readonly message: { readonly content: string };
    readonly finish_reason: string;
  }[];
}
