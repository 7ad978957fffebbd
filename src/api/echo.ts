import type { TokenLogprob } from "../scheduler/request.js";
import type { IncrementalDecoder } from "../text/text.js";
import type { Delta, TokenPiece } from "./choice.js";

/** A prompt that is repeated before its completions. */
export interface Echo {
  readonly text: string;
  readonly ids: readonly number[];
  /** Characters before each token, and after the last one. */
  readonly offsets: readonly number[];
}

/** Tokens of a prompt that are read, or shown with their log-probabilities, in one go. */
const TOKENS_AT_ONCE = 64;

/** `text`: as the client wrote it; null for token ids. */
export function* readEcho(
  ids: readonly number[],
  text: string | null,
  decoder: IncrementalDecoder,
): Generator<void, Echo> {
  const offsets = [0];
  const texts: string[] = [];
  let length = 0;
  for (let from = 0; from < ids.length; from += TOKENS_AT_ONCE) {
    yield;
    const pieces = ids.slice(from, from + TOKENS_AT_ONCE).map((id) => decoder.push(id));
    texts.push(pieces.join(""));
    for (const piece of pieces) {
      length += characters(piece);
      offsets.push(length);
    }
  }
  const rest = decoder.flush();
  offsets[ids.length] = length + characters(rest);
  return { text: text ?? texts.join("") + rest, ids, offsets };
}

/** The prompt and `first`, what follows it, as deltas of few tokens; the first one has all its text. */
export function* echoDeltas(
  { text, ids, offsets }: Echo,
  logprobs: readonly TokenLogprob[],
  first: Delta,
): Generator<Delta, void> {
  const last = ids.length - (ids.length % TOKENS_AT_ONCE);
  for (let from = 0; from <= last; from += TOKENS_AT_ONCE) {
    const pieces = ids.slice(from, from + TOKENS_AT_ONCE).map((id, i): TokenPiece => {
      const logprob = logprobs[from + i - 1] ?? null;
      return { id, offset: offsets[from + i]!, logprob };
    });
    const shown = from === 0 ? text : "";
    if (from < last) yield { text: shown, calls: [], tokens: [], pieces, routes: [] };
    else yield { ...first, text: shown + first.text, pieces: [...pieces, ...first.pieces] };
  }
}

/** Unicode code points: what Python's `len` counts, and so OpenAI's offsets. */
export function characters(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length; i++) if ((text.charCodeAt(i) & 0xfc00) === 0xdc00) count--;
  return count;
}
