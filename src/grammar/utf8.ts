import { maskWords, type Vocabulary } from "./vocabulary.js";

/** Bytes that UTF-8 has nowhere: leads of forms that are too long, and of what is beyond U+10FFFF. */
const isNever = (byte: number) => byte === 0xc0 || byte === 0xc1 || byte >= 0xf5;

/** Seconds that do not follow a lead: forms too long, halves of UTF-16 pairs, beyond U+10FFFF. */
const NOT_AFTER: ReadonlyMap<number, readonly [low: number, high: number]> = new Map([
  [0xe0, [0x80, 0x9f]],
  [0xed, [0xa0, 0xbf]],
  [0xf0, [0x80, 0x8f]],
  [0xf4, [0x90, 0xbf]],
]);

/**
 * Keeps answers well-formed: the matcher takes a lead with as many continuations as it announces for a
 * character, whichever they are.
 */
export class Utf8Guard {
  readonly #vocabulary: Vocabulary;
  readonly #wellFormed: Uint32Array; // bits of tokens
  /** Bits of tokens that may follow a lead, which they may begin by continuing. */
  readonly #after: ReadonlyMap<number, Uint32Array>;

  constructor(vocabulary: Vocabulary) {
    const { size, bytes, starts } = vocabulary;
    const bitsOf = (allowed: (spelling: Uint8Array) => boolean) => {
      const bits = new Uint32Array(maskWords(size));
      for (let id = 0; id < size; id++) {
        if (allowed(bytes.subarray(starts[id]!, starts[id + 1]!))) bits[id >> 5]! |= 1 << (id & 31);
      }
      return bits;
    };
    this.#vocabulary = vocabulary;
    this.#wellFormed = bitsOf(hasNoFault);
    this.#after = new Map(
      [...NOT_AFTER.keys()].map((lead) => [
        lead,
        bitsOf((spelling) => hasNoFault(spelling) && !isFault(lead, spelling[0] ?? 0)),
      ]),
    );
  }

  /** The last byte of an answer that ended in `before` and goes on by a token. */
  lastByte(before: number, token: number): number {
    const { bytes, starts } = this.#vocabulary;
    const end = starts[token + 1]!;
    return end === starts[token] ? before : bytes[end - 1]!;
  }

  /** Takes tokens out of a mask that cannot follow an answer whose last byte is this. */
  apply(mask: Uint32Array, lastByte: number): void {
    const allowed = this.#after.get(lastByte) ?? this.#wellFormed;
    for (let i = 0; i < mask.length; i++) mask[i]! &= allowed[i]!;
  }
}

function isFault(before: number, byte: number): boolean {
  if (isNever(byte)) return true;
  const [low, high] = NOT_AFTER.get(before) ?? [1, 0];
  return low <= byte && byte <= high;
}

function hasNoFault(spelling: Uint8Array): boolean {
  return spelling.every((byte, i) => !isFault(i === 0 ? 0 : spelling[i - 1]!, byte));
}
