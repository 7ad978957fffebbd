import type { Component, TokenizerJson } from "./tokenizer-json.js";

/**
 * Bytes of a text per byte that its tokens stand for, at most: normalizers may shorten a text.
 * Infinity where any amount of it may vanish, or may become one unknown token.
 */
export function shrinkage({
  normalizer,
  pre_tokenizer,
  model,
  added_tokens,
}: TokenizerJson): number {
  const splitters = parts(pre_tokenizer, "pretokenizers");
  const byBytes = splitters.some(({ type }) => type === "ByteLevel");
  const swallows = (added_tokens ?? []).some(({ lstrip, rstrip }) => lstrip || rstrip);
  if (swallows || model.type !== "BPE" || !(byBytes || model.byte_fallback === true)) {
    return Infinity;
  }
  const factors = [
    ...parts(normalizer, "normalizers").map(normalizerFactor),
    ...splitters.map((splitter) => (keepsAll(splitter) ? 1 : Infinity)),
  ];
  return factors.reduce((product, factor) => product * factor, 1);
}

function normalizerFactor({ type, pattern, content }: Component): number {
  switch (type) {
    case "Prepend":
    case "ByteLevel":
      return 1;
    case "NFC":
      return 3; // three conjoining jamo of three bytes each become a syllable of three
    case "Replace": {
      const from = (pattern as { readonly String?: string } | undefined)?.String;
      if (from === undefined || typeof content !== "string") return Infinity;
      return Buffer.byteLength(content) >= Buffer.byteLength(from) ? 1 : Infinity;
    }
    default:
      return Infinity;
  }
}

const KEEPING: readonly string[] = ["ByteLevel", "Metaspace", "Digits"];

function keepsAll({ type, behavior }: Component): boolean {
  return KEEPING.includes(type) || (type === "Split" && behavior !== "Removed");
}

function parts(component: Component | null | undefined, field: string): readonly Component[] {
  if (!component) return [];
  if (component.type !== "Sequence") return [component];
  return (component[field] as readonly Component[]).flatMap((part) => parts(part, field));
}
