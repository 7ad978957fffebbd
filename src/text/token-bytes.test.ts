import assert from "node:assert/strict";
import { test } from "node:test";
import { TokenBytes } from "./token-bytes.js";
import type { TokenizerJson } from "./tokenizer-json.js";

test("a token has a text where its bytes are whole characters, also that of a byte order mark", () => {
  const vocab = { "\ufeff": 0, "\u2581the": 1, "<0xE2>": 2, "<0x41>": 3 };
  const json = { model: { type: "BPE", vocab } } as unknown as TokenizerJson;
  const bytes = new TokenBytes(json, { kind: "sentencePiece", spacePrefix: true });
  const texts = () => [0, 1, 2, 3, 4].map((id) => bytes.text(id));
  assert.deepEqual(texts(), ["\ufeff", " the", null, "A", ""]);
  assert.deepEqual(texts(), texts()); // the second look is into what the first one kept
});
