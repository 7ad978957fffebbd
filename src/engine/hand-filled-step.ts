/** Fills step arrays by hand, for tests of the engine without a scheduler. */

import { PAGE_TOKENS, SequenceFlag, type StepArrays } from "./native.js";

/** One sequence of a step; sampling is greedy unless set afterwards. */
export interface Piece {
  readonly slot: number;
  readonly tokens: readonly number[] | "from slot";
  readonly context: number;
  readonly firstPage: number;
  readonly adapter?: number;
  readonly sample: boolean;
  readonly flags?: number;
}

/** Writes greedy sequences as a step. */
export function fill(arrays: StepArrays, pieces: readonly Piece[]): void {
  let row = 0;
  let block = 0;
  let adapters = 0;
  arrays.banStart[0] = 0;
  for (const [b, piece] of pieces.entries()) {
    const tokens = piece.tokens === "from slot" ? [0] : piece.tokens;
    arrays.rowStart[b] = row;
    arrays.blockStart[b] = block;
    arrays.historyStart[b] = 0;
    arrays.biasStart[b] = 0;
    arrays.tokens.set(tokens, row);
    row += tokens.length;
    const pages = Math.ceil((piece.context + tokens.length) / PAGE_TOKENS);
    for (let i = 0; i < pages; i++) arrays.blocks[block++] = piece.firstPage + i;
    arrays.slot[b] = piece.slot;
    arrays.context[b] = piece.context;
    arrays.routeStart[b] = 0;
    arrays.adapterStart[b] = adapters;
    if (piece.adapter !== undefined && piece.adapter !== 0) {
      arrays.adapter[adapters] = piece.adapter;
      arrays.adapterScale[adapters] = 1;
      arrays.routerTemperature[adapters] = 1;
      arrays.banStart[++adapters] = 0;
    }
    arrays.sampleIndex[b] = 0;
    arrays.temperature[b] = 0;
    arrays.topP[b] = 1;
    arrays.topK[b] = 0;
    arrays.minP[b] = 0;
    arrays.topLogprobs[b] = 0;
    arrays.flags[b] =
      (piece.sample ? SequenceFlag.sample : 0) |
      (piece.tokens === "from slot" ? SequenceFlag.tokenFromSlot : 0) |
      (piece.context === 0 ? SequenceFlag.restoreHistory : 0) |
      (piece.flags ?? 0);
  }
  for (const offsets of [arrays.historyStart, arrays.biasStart, arrays.routeStart]) {
    offsets[pieces.length] = 0;
  }
  arrays.adapterStart[pieces.length] = adapters;
  arrays.rowStart[pieces.length] = row;
  arrays.blockStart[pieces.length] = block;
  arrays.counts.set([row, pieces.length]);
}
