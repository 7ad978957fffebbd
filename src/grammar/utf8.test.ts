import assert from "node:assert/strict";
import { test } from "node:test";
import { Utf8Guard } from "./utf8.js";

/** Tokens 0 to 255 are single bytes; then come these. */
function guardOf(...more: readonly (readonly number[])[]): Utf8Guard {
  const spellings = [...Array.from({ length: 256 }, (_, byte) => [byte]), ...more];
  const starts = Uint32Array.of(0, ...spellings.map(() => 0));
  for (const [id, { length }] of spellings.entries()) starts[id + 1] = starts[id]! + length;
  const bytes = Uint8Array.from(spellings.flat());
  return new Utf8Guard({ size: spellings.length, bytes, starts, stopTokens: [] });
}

function allowed(guard: Utf8Guard, lastByte: number, words = 9): number[] {
  const mask = new Uint32Array(words).fill(0xffffffff);
  guard.apply(mask, lastByte);
  return Array.from({ length: 32 * words }, (_, id) => id).filter(
    (id) => (mask[id >> 5]! >>> (id & 31)) & 1,
  );
}

const isWellFormed = (bytes: readonly number[]) => {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes));
    return true;
  } catch {
    return false;
  }
};

test("after every lead, of the bytes that continue those are left that a character has", () => {
  const guard = guardOf();
  const more = (lead: number) => (lead < 0xe0 ? [] : lead < 0xf0 ? [0x80] : [0x80, 0x80]);
  for (let lead = 0xc2; lead < 0xf5; lead++) {
    const continued = allowed(guard, lead).filter((byte) => byte >> 6 === 2);
    const wanted = Array.from({ length: 64 }, (_, i) => 0x80 + i).filter((second) =>
      isWellFormed([lead, second, ...more(lead)]),
    );
    assert.deepEqual(continued, wanted, lead.toString(16));
  }
});

test("bytes that no text has are never left", () => {
  const left = allowed(guardOf(), 0x20, 8);
  const never = Array.from({ length: 256 }, (_, byte) => byte).filter(
    (byte) => !left.includes(byte),
  );
  assert.deepEqual(never, [0xc0, 0xc1, ...Array.from({ length: 11 }, (_, i) => 0xf5 + i)]);
});

test("tokens of several bytes are looked through, and their last byte counts", () => {
  const guard = guardOf([0x20, 0xf4], [0xf4, 0x90], [0x41, 0xed, 0xa0], [0x90, 0x41], []);
  const [space, beyond, half, continuing, nothing] = [256, 257, 258, 259, 260] as const;
  assert.equal(guard.lastByte(0x20, space), 0xf4);
  assert.equal(guard.lastByte(0xf4, nothing), 0xf4);
  const of = (lastByte: number) => allowed(guard, lastByte).filter((id) => id > 255 && id < 261);
  assert.deepEqual(of(0x20), [space, continuing, nothing]);
  assert.deepEqual(of(0xf4), [space, nothing]);
  assert.ok(!of(0xe1).includes(beyond) && !of(0xe1).includes(half));
});
