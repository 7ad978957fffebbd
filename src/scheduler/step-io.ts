import { MAX_TOP_LOGPROBS, SequenceFlag, type StepArrays } from "../engine/native.js";
import type { Mix, Routes } from "./mix.js";
import type { TokenLogprob } from "./request.js";
import { hasPenalties, pagesFor, type Sequence } from "./sequence.js";

/** A sequence's part of a step. */
export interface PlannedRows {
  readonly sequence: Sequence;
  readonly context: number; // positions computed by earlier steps
  readonly rows: number;
  readonly samples: boolean;
  readonly firstRow: number; // in the step
}

/** Writes the rows of every sequence, in order, into the arrays of a step. */
export function writeStep(arrays: StepArrays, planned: readonly PlannedRows[]): void {
  const at = { row: 0, block: 0, history: 0, bias: 0, route: 0, adapter: 0, ban: 0 };
  planned.forEach((part, index) => {
    arrays.rowStart[index] = at.row;
    arrays.blockStart[index] = at.block;
    arrays.historyStart[index] = at.history;
    arrays.biasStart[index] = at.bias;
    arrays.routeStart[index] = at.route;
    arrays.adapterStart[index] = at.adapter;
    writeState(arrays, index, part);
    writeSampling(arrays, index, part.sequence);
    writeRows(arrays, part);
    at.row += part.rows;

    const { sequence } = part;
    const pages = pagesFor(part.context + part.rows);
    for (let page = 0; page < pages; page++) arrays.blocks[at.block++] = sequence.blocks[page]!;
    if (restoredHistory(sequence) > 0) {
      for (const token of sequence.tokens) arrays.history[at.history++] = token;
    }
    for (const [token, value] of sequence.biases) {
      arrays.biasToken[at.bias] = token;
      arrays.biasValue[at.bias++] = value;
    }
    if (part.samples) at.route += sequence.request.routes?.pairs ?? 0;
    writeMix(arrays, sequence.request.mix, at);
  });
  const count = planned.length;
  arrays.rowStart[count] = at.row;
  arrays.blockStart[count] = at.block;
  arrays.historyStart[count] = at.history;
  arrays.biasStart[count] = at.bias;
  arrays.routeStart[count] = at.route;
  arrays.adapterStart[count] = at.adapter;
  arrays.banStart[at.adapter] = at.ban;
  arrays.counts[0] = at.row;
  arrays.counts[1] = count;
}

function writeMix(arrays: StepArrays, mix: Mix, at: { adapter: number; ban: number }): void {
  for (const { handle, scale, temperature, bans } of mix) {
    arrays.adapter[at.adapter] = handle;
    arrays.adapterScale[at.adapter] = scale;
    arrays.routerTemperature[at.adapter] = temperature;
    arrays.banStart[at.adapter++] = at.ban;
    for (const { level, expert } of bans) {
      arrays.banLevel[at.ban] = level;
      arrays.banExpert[at.ban++] = expert;
    }
  }
}

/** Tokens of history that the next step of a sequence carries. */
export function restoredHistory(sequence: Sequence): number {
  return sequence.fresh && hasPenalties(sequence.request) ? sequence.tokens.length : 0;
}

/** The part's only row has a token that TypeScript does not know yet. */
function readsSlot({ sequence, context }: PlannedRows): boolean {
  return context >= sequence.tokens.length;
}

function wantsPromptLogprobs({ sequence, context }: PlannedRows): boolean {
  return sequence.promptLogprobs !== null && context < sequence.promptLength - 1;
}

function writeState(arrays: StepArrays, index: number, part: PlannedRows): void {
  const { sequence, context } = part;
  let flags = 0;
  if (part.samples) flags |= SequenceFlag.sample;
  if (readsSlot(part)) flags |= SequenceFlag.tokenFromSlot;
  if (sequence.fresh) flags |= SequenceFlag.restoreHistory;
  if (part.samples && sequence.request.logprobs !== null) flags |= SequenceFlag.logprobs;
  if (wantsPromptLogprobs(part)) flags |= SequenceFlag.promptLogprobs;
  if (hasPenalties(sequence.request)) flags |= SequenceFlag.penalties;
  if (sequence.request.pooled) flags |= SequenceFlag.pool;
  if (part.samples && sequence.request.mask !== null) {
    flags |= SequenceFlag.mask;
    const { bits } = sequence.request.mask;
    arrays.mask.set(bits!, index * bits!.length);
  }
  if (part.samples && sequence.request.routes !== null) {
    flags |= SequenceFlag.routes;
    writeLayers(arrays, index, sequence.request.routes.layers);
  }
  arrays.flags[index] = flags;
  arrays.slot[index] = sequence.slot!;
  arrays.context[index] = context;
  arrays.historyPrompt[index] = restoredHistory(sequence) > 0 ? sequence.promptLength : 0;
  arrays.sampleIndex[index] = sequence.outputLength + sequence.pending;
}

function writeLayers({ routeLayers, slot }: StepArrays, index: number, layers: readonly number[]) {
  const words = routeLayers.length / slot.length;
  const bits = routeLayers.subarray(index * words, (index + 1) * words).fill(0);
  for (const layer of layers) bits[layer >> 5]! |= 1 << (layer & 31);
}

function writeSampling(arrays: StepArrays, index: number, sequence: Sequence): void {
  const { sampling, logprobs, promptLogprobs } = sequence.request;
  arrays.seed[2 * index] = sequence.seedLow;
  arrays.seed[2 * index + 1] = sequence.seedHigh;
  arrays.temperature[index] = sampling.temperature;
  arrays.topP[index] = sampling.topP;
  arrays.minP[index] = sampling.minP;
  arrays.topK[index] = sampling.topK;
  arrays.presence[index] = sampling.presencePenalty;
  arrays.frequency[index] = sampling.frequencyPenalty;
  arrays.repetition[index] = sampling.repetitionPenalty;
  arrays.topLogprobs[index] = Math.max(logprobs ?? 0, promptLogprobs ?? 0);
}

function writeRows(arrays: StepArrays, part: PlannedRows): void {
  const { tokens, promptLength } = part.sequence;
  for (let row = 0; row < part.rows; row++) {
    const position = part.context + row;
    arrays.tokens[part.firstRow + row] = tokens[position] ?? 0;
    arrays.nextTokens[part.firstRow + row] =
      position + 1 < promptLength ? tokens[position + 1]! : 0;
  }
}

/** The log-probabilities of the token that sequence `index` of the step sampled. */
export function readSampledLogprob(arrays: StepArrays, index: number, count: number): TokenLogprob {
  return {
    token: arrays.sampled[index]!,
    logprob: arrays.sampledLogprob[index]!,
    top: readTop(arrays.topTokens, arrays.topLogprobValues, index, count),
  };
}

/** Where the row went that sampled the token of sequence `index` of the step. */
export function readRoutes(arrays: StepArrays, index: number): Routes {
  const [from, to] = [arrays.routeStart[index], arrays.routeStart[index + 1]];
  return { experts: arrays.routeExpert.slice(from, to), scores: arrays.routeScore.slice(from, to) };
}

/** The mean of the hidden states of sequence `index` of the step. */
export function readPooled({ pooled, slot }: StepArrays, index: number): Float32Array {
  const width = pooled.length / slot.length;
  return pooled.slice(index * width, (index + 1) * width);
}

/** Log-probabilities of the prompt tokens that follow the part's rows. */
export function readPromptLogprobs(arrays: StepArrays, part: PlannedRows): TokenLogprob[] {
  if (!wantsPromptLogprobs(part)) return [];
  const { promptLength, request } = part.sequence;
  const rows = Math.min(part.rows, promptLength - 1 - part.context);
  return Array.from({ length: rows }, (_, offset) => {
    const row = part.firstRow + offset;
    return {
      token: arrays.nextTokens[row]!,
      logprob: arrays.rowLogprob[row]!,
      top: readTop(arrays.rowTopTokens, arrays.rowTopLogprobs, row, request.promptLogprobs ?? 0),
    };
  });
}

function readTop(tokens: Int32Array, logprobs: Float32Array, index: number, count: number) {
  return Array.from({ length: count }, (_, rank) => ({
    token: tokens[index * MAX_TOP_LOGPROBS + rank]!,
    logprob: logprobs[index * MAX_TOP_LOGPROBS + rank]!,
  }));
}
