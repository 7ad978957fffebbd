import type { Sequence } from "./sequence.js";

/**
 * Which tokens may come next, for a generation that follows a grammar. It changes by `accept` alone; the
 * mask after a token is made while the engine computes (src/grammar implements it).
 */
export interface TokenMask {
  /** One bit per token of the vocabulary, lowest bit first; null while it is being made. */
  readonly bits: Uint32Array | null;
  /** Why there will be no mask any more. */
  readonly failure: string | null;
  /** Resolves when `bits` or `failure` is there. */
  readonly made: Promise<void>;
  /** The generation takes this token and goes on. */
  accept(token: number): void;
}

/** Masks that sequences need for their next row and nothing else. */
export function masksInWork(sequences: readonly Sequence[]): TokenMask[] {
  const masks: TokenMask[] = [];
  for (const sequence of sequences) {
    const { mask } = sequence.request;
    if (mask === null || mask.bits !== null || mask.failure !== null) continue;
    if (sequence.pending === 0 && sequence.remaining === 0) masks.push(mask);
  }
  return masks;
}
