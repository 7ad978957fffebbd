import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { fixtureText, recordedIds } from "../../test/support/text-fixtures.js";
import { TokenStreamDecoder } from "./detokenizer.js";

describe("decoding token by token", () => {
  const { tokenizer } = fixtureText("smollm2");
  const stream = (ids: readonly number[]) => {
    const decoder = new TokenStreamDecoder(tokenizer);
    return [...ids.map((id) => decoder.push(id)), decoder.flush()];
  };
  const utf8 = (ids: readonly number[]) =>
    Buffer.concat(
      ids.filter((id) => !tokenizer.isSpecial(id)).map((id) => tokenizer.tokenBytes(id)),
    );

  it("gives the text of all bytes together, whatever the tokens", () => {
    const anyIds = fc.array(fc.integer({ min: 0, max: 49151 }), { maxLength: 40 });
    const byteToken = fc.integer({ min: 17, max: 300 });
    const byteTokens = fc.array(byteToken, { maxLength: 40 });
    const paddedId = fc.integer({ min: 49152, max: 49200 }); // has no bytes
    const between = fc.array(fc.oneof(byteToken, fc.nat(49151), paddedId), { maxLength: 40 });
    fc.assert(
      fc.property(fc.oneof(anyIds, byteTokens, between), (ids) => {
        const whole = new TextDecoder("utf-8", { ignoreBOM: true }).decode(utf8(ids));
        assert.equal(stream(ids).join(""), whole);
        assert.equal(tokenizer.decode(ids), whole);
      }),
      { numRuns: 2000 },
    );
  });

  it("never shows a part of a character", () => {
    for (const { text, ids } of recordedIds("smollm2")) {
      if (text.includes("\ufffd")) continue;
      for (const piece of stream(ids)) assert.ok(!piece.includes("\ufffd"), JSON.stringify(text));
    }
  });

  it("waits for the rest of an emoji, and shows U+FFFD when the rest never comes", async () => {
    const ids = await tokenizer.encode("👩‍👩‍👧");
    const pieces = stream(ids);
    assert.equal(pieces[0], "");
    assert.equal(pieces.join(""), "👩‍👩‍👧");
    assert.equal(stream(ids.slice(0, 1)).join(""), "\ufffd");
  });
});
