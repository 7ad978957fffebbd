import assert from "node:assert/strict";
import { test } from "node:test";
import { printable, printableOn } from "./printable.js";

test("control characters are replaced but line ends and tabs, and no other character is", () => {
  for (let code = 0; code <= 0xffff; code++) {
    const character = String.fromCharCode(code);
    const control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    const replaced = control && character !== "\n" && character !== "\t";
    assert.equal(printable(character), replaced ? "\ufffd" : character, code.toString(16));
  }
  assert.equal(printable("\u001b]0;x\u0007Grüß\n👋"), "\ufffd]0;x\ufffdGrüß\n👋");
});

test("only terminals are spared control characters", () => {
  assert.equal(printableOn({ isTTY: true }, "a\u009b2J"), "a\ufffd2J");
  assert.equal(printableOn({ isTTY: false }, "a\u009b2J"), "a\u009b2J");
  assert.equal(printableOn({}, "a\u009b2J"), "a\u009b2J");
});
