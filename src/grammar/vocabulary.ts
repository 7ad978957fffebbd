import type { Tokenizer } from "../text/text.js";

/** The bytes of every token in shared memory, so that each grammar worker reads the same copy. */
export interface Vocabulary {
  readonly size: number; // of the model: logits have so many
  readonly bytes: Uint8Array; // of all tokens, end to end; none for tokens that spell no text
  readonly starts: Uint32Array; // size + 1
  readonly stopTokens: readonly number[];
}

const TOKENS_PER_STEP = 1024;

/** Special tokens spell nothing: no grammar allows them, but for the stop tokens at its end. */
export function* sharedVocabulary(
  tokenizer: Tokenizer,
  size: number,
  stopTokens: ReadonlySet<number>,
): Generator<void, Vocabulary> {
  const spelling = (id: number) =>
    id >= tokenizer.vocabSize || tokenizer.isSpecial(id) ? NOTHING : tokenizer.tokenBytes(id);
  const starts = new Uint32Array(new SharedArrayBuffer(4 * (size + 1)));
  for (let id = 0; id < size; id++) {
    starts[id + 1] = starts[id]! + spelling(id).length;
    if (id % TOKENS_PER_STEP === 0) yield;
  }
  const bytes = new Uint8Array(new SharedArrayBuffer(starts[size]!));
  for (let id = 0; id < size; id++) {
    bytes.set(spelling(id), starts[id]);
    if (id % TOKENS_PER_STEP === 0) yield;
  }
  return { size, bytes, starts, stopTokens: [...stopTokens] };
}

const NOTHING = new Uint8Array(0);

export function maskWords(vocabulary: number): number {
  return Math.ceil(vocabulary / 32);
}
