import assert from "node:assert/strict";
import { test } from "node:test";
import { finished } from "../turns.js";
import { schemaToGrammar } from "./json-schema.js";
import { SchemaError } from "./json-schema-fields.js";

function refusal(schema: unknown): string {
  try {
    finished(schemaToGrammar(schema));
  } catch (error) {
    assert.ok(error instanceof SchemaError, String(error));
    return `${error.path}: ${error.message}`;
  }
  return "none";
}

const inAge = (age: object) => ({ type: "object", properties: { age } });

test("keywords that cannot be held are refused by name and place", () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [{ type: "integer", multipleOf: 3 }, /^: the keyword "multipleOf"/],
    [{ type: "array", uniqueItems: true }, /"uniqueItems"/],
    [{ type: "array", contains: {} }, /"contains"/],
    [{ not: { type: "string" } }, /"not"/],
    [{ if: {}, type: "object" }, /"if"/],
    [{ type: "object", patternProperties: {} }, /"patternProperties"/],
    [{ type: "object", propertyNames: {} }, /"propertyNames"/],
    [{ type: "object", dependentRequired: {} }, /"dependentRequired"/],
    [{ type: "object", unevaluatedProperties: false }, /"unevaluatedProperties"/],
    [{ type: "string", contentEncoding: "base64" }, /"contentEncoding"/],
    [{ type: "string", format: "uri-template" }, /^\.format: must be one of date,/],
    [{ type: "string", pattern: "a", minLength: 1 }, /minLength and pattern .* together/],
    [{ type: "string", pattern: "(?=a)b" }, /^\.pattern: the group \(\?= is not supported/],
    [{ type: "string", pattern: "\\bword" }, /^\.pattern: \\b/],
    [{ type: "string", pattern: "(a)\\1" }, /^\.pattern: \\1/],
    [{ type: "number", minimum: 0.5 }, /^\.minimum: must be an integer/],
    [
      { type: "number", exclusiveMinimum: 0 },
      /"exclusiveMinimum" is not supported for type number/,
    ],
    [{ minLength: 3 }, /"minLength" is not supported without a "type"/],
    [{ anyOf: [{}], type: "string" }, /"type" is not supported beside anyOf/],
    [{ allOf: [{}, {}] }, /^\.allOf: allOf of more than one/],
    [{ oneOf: [{ type: "integer" }, { type: "number" }] }, /^\.oneOf: oneOf is supported where/],
    [{ $ref: "https://example.org/x" }, /^\.\$ref: must point into this schema/],
    [{ $ref: "#/$defs/missing" }, /^\.\$ref: there is nothing at #\/\$defs\/missing/],
    [inAge({ type: "integer", typo: 1 }), /^\.properties\.age: the keyword "typo"/],
    [inAge({ type: "whole" }), /^\.properties\.age\.type: must be one of string,/],
    [
      { ...inAge({}), additionalProperties: true },
      /^\.additionalProperties: is not supported beside/,
    ],
    [{ ...inAge({}), required: ["name"] }, /^\.required: "name" is not among properties/],
  ];
  for (const [schema, expected] of cases) assert.match(refusal(schema), expected);
});

test("schemas that allow nothing, or never end, are refused", () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [false, /allows no value/],
    [{ type: "integer", minimum: 3, maximum: 2 }, /bounds allow no number/],
    [{ type: "string", minLength: 3, maxLength: 2 }, /minLength is more than maxLength/],
    [{ type: "array", items: false, minItems: 1 }, /allows no array/],
    [{ enum: [] }, /allows no value/],
    [{ enum: ["a"], type: "integer" }, /allows no value/],
    [{ $ref: "#" }, /refers to itself/],
    [{ $ref: "#/$defs/a", $defs: { a: { anyOf: [{ $ref: "#/$defs/a" }] } } }, /refers to itself/],
    [{ type: "string", maxLength: 1e9 }, /too many rules/],
  ];
  for (const [schema, expected] of cases) assert.match(refusal(schema), expected);
  let deep: object = {};
  for (let i = 0; i < 10_000; i++) deep = { type: "array", items: deep };
  assert.match(refusal(deep), /nested over 64 deep/);
});

test("oneOf is taken where its schemas cannot both hold", () => {
  const kind = (name: string) => ({
    type: "object",
    properties: { kind: { const: name }, x: { type: "integer" } },
    required: ["kind"],
  });
  assert.equal(refusal({ oneOf: [{ type: "string" }, { type: "null" }] }), "none");
  assert.equal(refusal({ oneOf: [kind("a"), kind("b")] }), "none");
  assert.match(refusal({ oneOf: [kind("a"), kind("a")] }), /^\.oneOf/);
});

test("equal schemas give equal grammars, and rules are not repeated", () => {
  const point = { type: "object", properties: { x: { type: "number" } }, required: ["x"] };
  const schema = {
    type: "object",
    properties: { a: { $ref: "#/$defs/point" }, b: { $ref: "#/$defs/point" } },
    $defs: { point },
  };
  const grammar = finished(schemaToGrammar(schema));
  assert.equal(grammar, finished(schemaToGrammar(structuredClone(schema))));
  const names = grammar.split("\n").map((line) => line.split(" ::= ")[0]);
  assert.equal(new Set(names).size, names.length);
});

test("strings with bounds share their rules with all others that have as much left", () => {
  const text = (minLength: number, maxLength?: number) =>
    maxLength === undefined
      ? { type: "string", minLength }
      : { type: "string", minLength, maxLength };
  const rules = (...fields: readonly object[]) =>
    finished(schemaToGrammar({ type: "object", properties: { ...fields } })).split("\n").length;
  const more = rules(text(0, 40), text(0, 40), text(0, 30), text(2, 32)) - rules(text(0, 40));
  assert.ok(more < 20, `${more} more rules`);
  assert.match(refusal({ type: "string", minLength: 1e9 }), /too many rules/);
});
