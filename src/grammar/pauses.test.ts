import assert from "node:assert/strict";
import { test } from "node:test";
import type { Tokenizer } from "../text/text.js";
import { schemaToGrammar } from "./json-schema.js";
import { regexToEbnf } from "./regex.js";
import { sharedVocabulary } from "./vocabulary.js";

/** Where long work may pause: turns.ts runs it for a millisecond at a time if it lets it. */
function pauses(work: Generator<void, unknown>): number {
  let count = 0;
  while (work.next().done !== true) count++;
  return count;
}

test("a schema may pause at each of its parts, and at each character of a bounded string", () => {
  const fields = Array.from({ length: 1000 }, (_, i) => [`field_${i}`, { type: "string" }]);
  const wide = { type: "object", properties: Object.fromEntries(fields) };
  assert.ok(pauses(schemaToGrammar(wide)) >= 2000);
  assert.ok(pauses(schemaToGrammar({ enum: fields.map(([name]) => name) })) >= 2000);
  assert.ok(pauses(schemaToGrammar({ type: "string", maxLength: 1000 })) >= 1000);
  const kinds = fields.slice(0, 200).map(([name]) => ({
    ...{ type: "object", properties: { kind: { const: name } }, required: ["kind"] },
  }));
  assert.ok(pauses(schemaToGrammar({ oneOf: kinds })) >= (200 * 199) / 2);
});

test("an expression may pause after each of its parts", () => {
  assert.ok(pauses(regexToEbnf("[a-z](x|y)*".repeat(1000))) >= 4000);
});

test("a vocabulary may pause after a thousand tokens", () => {
  let spelled = 0;
  let most = 0;
  const tokenizer = {
    vocabSize: 50_000,
    isSpecial: () => false,
    tokenBytes: () => {
      spelled++;
      return Uint8Array.of(1);
    },
  } as Partial<Tokenizer> as Tokenizer;
  const work = sharedVocabulary(tokenizer, tokenizer.vocabSize, new Set());
  for (let done = false; !done; most = Math.max(most, spelled)) {
    spelled = 0;
    done = work.next().done === true;
  }
  assert.ok(most <= 2048, `${most} tokens in one go`);
});
