import { PAGE_TOKENS } from "../engine/native.js";
import { type BlockId, type CachedPrefix, emptyPrefix, type PrefixId } from "./kv-blocks.js";
import { handlesOf, mixKey } from "./mix.js";
import type { GenerateRequest, SamplingParams, TokenLogprob } from "./request.js";

/** The engine's own state of a sequence: its last token and the counts of its history. */
export type SlotId = number & { readonly brand: "SlotId" };

/**
 * waiting: holds nothing. running: holds pages, a slot and a pin on each of its adapters. preempted and ended:
 * takes part in no further step; keeps what it holds until the steps queued with it are done.
 */
export type Phase = "waiting" | "running" | "preempted" | "ended";

/**
 * One generation on its way through the scheduler, which alone changes it. Every length follows from
 * `tokens`, `planned`, `computed` and `pending`.
 */
export class Sequence {
  readonly request: GenerateRequest;
  /** Arrival order. */
  readonly number: number;
  /** Place in the fair order of the waiting (policy.ts); kept when preempted. */
  readonly turn: number;
  readonly seedLow: number;
  readonly seedHigh: number;
  /** Bias entries in the order that the engine gets them. */
  readonly biases: readonly (readonly [token: number, value: number])[];
  /** Handles of those it goes through, in the order of its mix; none = the base alone. */
  readonly adapters: readonly number[];
  /** What its first page follows. */
  readonly root: PrefixId;

  phase: Phase = "waiting";
  /** The prompt, then the tokens known to have been sampled. */
  readonly tokens: number[];
  /** Tokens that queued steps sample. */
  pending = 0;
  /** Positions whose keys and values queued or finished steps compute. */
  planned = 0;
  /** Positions that finished steps have computed. */
  computed = 0;
  /** Queued steps that hold rows of it. */
  queuedSteps = 0;

  slot: SlotId | null = null;
  /** The engine has not seen it in this slot. */
  fresh = true;
  blocks: BlockId[] = [];
  /** Leading pages that are offered for reuse, and the name of the prefix they hold. */
  published = 0;
  prefix: PrefixId;

  /** What of it others had computed when it was last looked for; of use while it waits. */
  readonly cached: CachedPrefix = { blocks: [], prefixes: [], next: null };
  /** Of the prompt, taken from the prefix cache at first admission. */
  cachedTokens: number | null = null;
  /** Log-probabilities of prompt tokens 1, 2, ... so far; null when not asked for or delivered. */
  promptLogprobs: TokenLogprob[] | null;
  /** Others that were admitted before it while an adapter of it was not resident. */
  passedBy = 0;

  constructor(request: GenerateRequest, number: number, turn: number) {
    this.request = request;
    this.number = number;
    this.turn = turn;
    this.seedLow = Number(BigInt.asUintN(32, request.sampling.seed));
    this.seedHigh = Number(BigInt.asUintN(32, request.sampling.seed >> 32n));
    this.biases = [...request.sampling.logitBias];
    this.tokens = [...request.prompt];
    this.adapters = handlesOf(request.mix);
    this.root = emptyPrefix(mixKey(request.mix));
    this.prefix = this.root;
    this.promptLogprobs = request.promptLogprobs === null ? null : [];
  }

  get priority(): number {
    return this.request.priority;
  }

  get promptLength(): number {
    return this.request.prompt.length;
  }

  /** Tokens sampled so far, the one that ended it included. */
  get outputLength(): number {
    return this.tokens.length - this.promptLength;
  }

  /** Known tokens and those that queued steps sample. */
  get length(): number {
    return this.tokens.length + this.pending;
  }

  /** Rows that could be planned now; the last token of a generation is never fed back. */
  get remaining(): number {
    const held = this.awaitsMask ? 1 : 0;
    return Math.max(Math.min(this.length, mostPositions(this.request)) - held - this.planned, 0);
  }

  /**
   * Its next token may not be sampled yet: which tokens are allowed depends on one that a queued step
   * samples, or is just being found out.
   */
  get awaitsMask(): boolean {
    const { mask } = this.request;
    return mask !== null && (this.pending > 0 || mask.bits === null);
  }

  /** Back to where it stood before it was admitted, but for the tokens it has. */
  forgetComputation(): void {
    this.planned = 0;
    this.computed = 0;
    this.slot = null;
    this.fresh = true;
    this.blocks = [];
    this.published = 0;
    this.prefix = this.root;
    if (this.promptLogprobs !== null) this.promptLogprobs = [];
  }
}

/**
 * The same request, its fields in one order for all. Every step reads them of every sequence, which V8 has good code for
 * where they are objects of one shape; requests come in as many as there are ways to put them together.
 */
export function inOneShape(request: GenerateRequest): GenerateRequest {
  return {
    prompt: request.prompt,
    mix: request.mix,
    priority: request.priority,
    sampling: samplingInOneShape(request.sampling),
    maxTokens: request.maxTokens,
    stopTokens: request.stopTokens,
    ignoreEos: request.ignoreEos,
    logprobs: request.logprobs,
    promptLogprobs: request.promptLogprobs,
    pooled: request.pooled,
    mask: request.mask,
    routes: request.routes,
    origin: request.origin,
    onEvent: request.onEvent,
  };
}

function samplingInOneShape(sampling: SamplingParams): SamplingParams {
  return {
    temperature: sampling.temperature,
    topP: sampling.topP,
    topK: sampling.topK,
    minP: sampling.minP,
    presencePenalty: sampling.presencePenalty,
    frequencyPenalty: sampling.frequencyPenalty,
    repetitionPenalty: sampling.repetitionPenalty,
    seed: sampling.seed,
    logitBias: sampling.logitBias,
  };
}

export function hasPenalties({ sampling }: GenerateRequest): boolean {
  const { presencePenalty, frequencyPenalty, repetitionPenalty } = sampling;
  return presencePenalty !== 0 || frequencyPenalty !== 0 || repetitionPenalty !== 1;
}

/** Positions that a request occupies at its longest. */
export function mostPositions(request: GenerateRequest): number {
  return request.prompt.length + Math.max(request.maxTokens - 1, 0);
}

export function pagesFor(positions: number): number {
  return Math.ceil(positions / PAGE_TOKENS);
}
