import { PAGE_TOKENS, SequenceStatus, type StepArrays, type StepLimits } from "../engine/native.js";
import { ApiError, type ErrorCode } from "../errors.js";
import { KvBlocks } from "./kv-blocks.js";
import { handlesOf, type Routes } from "./mix.js";
import { StepPace } from "./pace.js";
import { FairQueue, leastUrgent, prefillBudget, rowNeeds, sharePrefill } from "./policy.js";
import type { FinishReason, GenerateRequest, GenerationEvent } from "./request.js";
import { Residency } from "./residency.js";
import {
  findPrefix,
  lacksPageIn,
  nextPage,
  publishPages,
  refuseImpossible,
  takePages,
} from "./room.js";
import { inOneShape, Sequence, type SlotId } from "./sequence.js";
import { type PlannedStep, StepDraft } from "./step-draft.js";
import {
  type PlannedRows,
  readPooled,
  readPromptLogprobs,
  readRoutes,
  readSampledLogprob,
} from "./step-io.js";

export interface SchedulerOptions {
  readonly limits: StepLimits;
  readonly slots: number;
  readonly pages: number;
  /** Rows of prompts in a step; prefillBudget for a server. */
  readonly prefill?: typeof prefillBudget;
}

export interface SequenceEvent {
  readonly sequence: Sequence;
  readonly event: GenerationEvent;
}

/** Cached pages after which a plan looks for no other sequence's: they cost about a quarter microsecond each. */
export const MOST_PAGES_FOUND = 4096;

/** Totals since start, for the metrics. */
export interface SchedulerTotals {
  preemptions: number;
  prefixQueries: number; // tokens looked up
  prefixHits: number; // tokens found
}

/**
 * Decides what every step computes and owns the state of all sequences. Pure: no clock, no I/O, no
 * engine. At most two planned steps may be uncommitted (one runs, one is queued); they are committed
 * in the order they were planned, and the engine runs them in that order.
 */
export class Scheduler {
  readonly adapters = new Residency();
  readonly pace = new StepPace();
  readonly kv: KvBlocks;
  readonly totals: SchedulerTotals = { preemptions: 0, prefixQueries: 0, prefixHits: 0 };
  readonly #limits: StepLimits;
  readonly #prefill: typeof prefillBudget;
  readonly #slots: SlotId[];
  readonly #queue = new FairQueue();
  readonly #running: Sequence[] = []; // oldest admission first
  readonly #leaving = new Set<Sequence>(); // preempted or ended, with queued steps
  readonly #uncommitted = new Set<PlannedStep>();
  #submitted = 0;

  constructor(options: SchedulerOptions) {
    this.#limits = options.limits;
    this.#prefill = options.prefill ?? prefillBudget;
    this.kv = new KvBlocks(options.pages);
    this.#slots = Array.from({ length: options.slots }, (_, index) => index as SlotId);
  }

  get waiting(): readonly Sequence[] {
    return this.#queue.all();
  }

  /** Tokens of the prompts that wait. */
  get waitingTokens(): number {
    return this.#queue.tokens;
  }

  get running(): readonly Sequence[] {
    return this.#running;
  }

  /** Nothing waits, runs or holds anything. */
  get idle(): boolean {
    return this.#queue.size + this.#running.length + this.#leaving.size === 0;
  }

  submit(given: GenerateRequest): Sequence {
    const request = inOneShape(given);
    refuseImpossible(request, this.#limits, this.kv.count);
    const turn = this.#queue.takeTurn(handlesOf(request.mix));
    const sequence = new Sequence(request, this.#submitted++, turn);
    this.#queue.add(sequence);
    return sequence;
  }

  /** Ends a sequence without an event. */
  cancel(sequence: Sequence): void {
    if (sequence.phase !== "ended") this.#leave(sequence, "ended");
  }

  /** Whether the adapter is asked for, held or used: until then the engine must know it. */
  uses(adapter: number): boolean {
    const live = [...this.#queue.all(), ...this.#running, ...this.#leaving];
    return this.adapters.knows(adapter) || live.some(({ adapters }) => adapters.includes(adapter));
  }

  /** Ends a sequence that has been waiting for its adapters since it came; null for all others. */
  giveUp(sequence: Sequence, message: string): SequenceEvent | null {
    const { phase, cachedTokens, adapters } = sequence;
    const waits = phase === "waiting" && cachedTokens === null && !this.adapters.hasAll(adapters);
    return waits ? this.#end(sequence, "adapter_loading", message) : null;
  }

  /** Ends the sequences for whose adapters there will never be room; the others may start then. */
  failHopeless(): SequenceEvent[] {
    const head = this.#queue.head(this.#limits.sequences);
    const first = head.find(({ adapters }) => !this.adapters.hasAll(adapters));
    if (first === undefined || !this.adapters.hopeless(first.adapters)) return [];
    return this.#endWaiting(first.adapters, "adapter_memory_full");
  }

  /** Ends every waiting sequence of an adapter that cannot be made resident. */
  failAdapter(adapter: number): SequenceEvent[] {
    this.adapters.failed(adapter);
    return this.#endWaiting([adapter], "adapter_failed");
  }

  /** Ends the waiting sequences that go through all of these adapters. */
  #endWaiting(adapters: readonly number[], code: ErrorCode): SequenceEvent[] {
    const affected = this.#queue
      .all()
      .filter((sequence) => adapters.every((adapter) => sequence.adapters.includes(adapter)));
    return affected.map((sequence) => this.#end(sequence, code));
  }

  /** Ends running sequences that will get no mask any more. */
  failMasks(): SequenceEvent[] {
    const failed = this.#running.filter(({ request }) => request.mask?.failure != null);
    return failed.map((sequence) =>
      this.#end(sequence, "grammar_failed", sequence.request.mask!.failure!),
    );
  }

  /** Writes the next step into `arrays`; null when nothing can be computed now. */
  plan(arrays: StepArrays): PlannedStep | null {
    const draft = new StepDraft(this.#limits);
    // The most urgent first: those that have to give up their pages are not in the draft yet.
    for (const sequence of this.#running.toSorted((a, b) => a.priority - b.priority)) {
      if (sequence.phase !== "running" || sequence.remaining !== 1) continue;
      if (this.#reserve(sequence)) draft.add(sequence, 1);
    }
    this.#admit(draft);
    this.#addPrompts(draft);
    const step = draft.write(arrays);
    if (step !== null) this.#uncommitted.add(step);
    return step;
  }

  /** Adds rows of prompts to those of the running streams. */
  #addPrompts(draft: StepDraft): void {
    const prompts = this.#running.filter(
      (sequence) => sequence.remaining > 1 || draft.admitted.includes(sequence),
    );
    if (prompts.length === 0) return;
    const streams = draft.work;
    const longest = Math.max(0, ...prompts.map(({ planned }) => planned));
    const room = this.#limits.rows - streams.rows;
    const budget = this.#prefill(room, {
      streams: this.pace.costOf(streams),
      fixed: this.pace.fixedRows,
      promptRow: this.pace.costOf({ rows: 1, positions: longest }),
      seconds: this.pace.secondsPerRow,
    });
    const needs = rowNeeds(prompts);
    for (const [index, rows] of sharePrefill(needs, budget, room).entries()) {
      if (rows > 0) draft.add(prompts[index]!, rows);
    }
  }

  /** Takes the results of a finished step. A second call for the same step does nothing. */
  commit(step: PlannedStep): SequenceEvent[] {
    const events: SequenceEvent[] = [];
    this.#settle(step, (part, index) => this.#accept(step.arrays, part, index, events));
    return events;
  }

  /** The engine could not run the step: ends its sequences, the others go on. */
  fail(step: PlannedStep, message: string): SequenceEvent[] {
    const events: SequenceEvent[] = [];
    this.#settle(step, ({ sequence }) => {
      events.push(this.#end(sequence, "engine_failed", message));
    });
    return events;
  }

  /** Throws unless pages, slots and pins add up. For tests. */
  check(): void {
    const holders = [...this.#running, ...this.#leaving];
    this.kv.check(holders.flatMap((sequence) => sequence.blocks));
    const slots = [...this.#slots, ...holders.map((sequence) => sequence.slot)];
    if (new Set(slots).size !== slots.length) throw new Error("a slot has two owners");
    for (const sequence of this.#leaving) {
      if (sequence.queuedSteps === 0) throw new Error("a sequence left but was not released");
    }
  }

  /** Sees to it that the sequence has the page of its next position; may preempt another. */
  #reserve(sequence: Sequence): boolean {
    while (sequence.blocks.length * PAGE_TOKENS <= sequence.planned) {
      const block = this.kv.allocate();
      if (block !== undefined) {
        sequence.blocks.push(block);
        continue;
      }
      if (this.#leaving.size > 0) return false; // pages come free when their queued step is done
      const last = leastUrgent(this.#running);
      this.totals.preemptions += 1;
      this.#leave(last, "preempted");
      if (last === sequence) return false;
    }
    return true;
  }

  /**
   * Lets sequences in, in fair order, while slots and pages last. One whose adapter is not resident is
   * passed by, `maxBatch` times at most: then no other adapter's sequence gets in before it, so pins
   * drain until there is room. Of those that go through several, only one that comes before all others
   * that wait may hold some while it waits for the rest: else two could wait for each other. One whose
   * next page a running sequence is about to compute waits for that page, and shares it. When as many
   * cached pages were found as a plan may look for, the next plan goes on.
   */
  #admit(draft: StepDraft): void {
    const patience = this.#limits.sequences;
    const head = this.#queue.head(this.#limits.sequences);
    const wanted = new Set<number>();
    const missed: Sequence[] = [];
    const inWork = new Set(head.length === 0 ? [] : this.#running.map(nextPage));
    let overdue: Sequence | undefined;
    let full = false;
    let found = 0;
    for (const sequence of head) {
      const { adapters } = sequence;
      const may: readonly number[] = overdue?.adapters ?? adapters;
      if (!adapters.every((adapter) => may.includes(adapter))) continue;
      const ready = this.adapters.hasAll(adapters);
      if (!ready) missed.push(sequence);
      if (!ready && adapters.length > 1 && missed.length > 1) continue;
      for (const adapter of adapters) {
        wanted.add(adapter);
        this.adapters.want(adapter);
      }
      if (!ready && sequence.passedBy >= patience) overdue ??= sequence;
      if (!ready) continue;
      if (full || found >= MOST_PAGES_FOUND) continue;
      found += findPrefix(this.kv, sequence);
      if (lacksPageIn(inWork, sequence)) continue;
      full = !this.#start(sequence);
      if (full) continue;
      inWork.add(nextPage(sequence));
      draft.admitted.push(sequence);
      for (const other of missed) other.passedBy += 1;
    }
    this.adapters.releaseUnused((adapter) => wanted.has(adapter));
  }

  /** Gives a waiting sequence pages for all its tokens, and a slot; false when there is no room. */
  #start(sequence: Sequence): boolean {
    if (this.#running.length >= this.#limits.sequences || this.#slots.length === 0) return false;
    // Running streams will each need a page soon: without a margin the newest would be preempted at once.
    if (!takePages(this.kv, sequence, this.#running.length)) return false;
    sequence.slot = this.#slots.shift()!;
    sequence.phase = "running";
    this.totals.prefixQueries += sequence.tokens.length;
    this.totals.prefixHits += sequence.planned;
    this.adapters.addUser(sequence.adapters);
    this.#queue.admit(sequence);
    this.#running.push(sequence);
    return true;
  }

  #settle(step: PlannedStep, take: (part: PlannedRows, index: number) => void): void {
    if (!this.#uncommitted.delete(step)) return;
    step.parts.forEach((part, index) => {
      const { sequence } = part;
      sequence.queuedSteps -= 1;
      sequence.pending -= part.samples ? 1 : 0;
      // Look-ahead rows of a sequence that ended in an earlier step count for nothing.
      if (sequence.phase !== "ended") take(part, index);
      if (this.#leaving.has(sequence)) this.#releaseWhenDone(sequence);
    });
  }

  #accept(arrays: StepArrays, part: PlannedRows, index: number, events: SequenceEvent[]): void {
    const { sequence } = part;
    const status = arrays.status[index];
    if (status !== SequenceStatus.ok) {
      const code = status === SequenceStatus.adapterFailed ? "adapter_failed" : "not_finite";
      events.push(this.#end(sequence, code));
      return;
    }
    if (sequence.promptLogprobs !== null) {
      sequence.promptLogprobs.push(...readPromptLogprobs(arrays, part));
    }
    sequence.computed += part.rows;
    publishPages(this.kv, sequence);
    if (sequence.promptLogprobs !== null && sequence.computed >= sequence.promptLength) {
      events.push({ sequence, event: { kind: "prompt", logprobs: sequence.promptLogprobs } });
      sequence.promptLogprobs = null;
    }
    if (part.samples) this.#acceptToken(arrays, sequence, index, events);
    else if (sequence.request.maxTokens === 0 && sequence.computed === sequence.promptLength) {
      if (sequence.request.pooled) {
        events.push({ sequence, event: { kind: "embedding", vector: readPooled(arrays, index) } });
      }
      events.push(this.#finish(sequence, "length", null));
    }
  }

  #acceptToken(
    arrays: StepArrays,
    sequence: Sequence,
    index: number,
    events: SequenceEvent[],
  ): void {
    const { request } = sequence;
    const token = arrays.sampled[index]!;
    sequence.tokens.push(token);
    const routes = request.routes === null ? null : readRoutes(arrays, index);
    if (!request.ignoreEos && request.stopTokens.has(token)) {
      events.push(this.#finish(sequence, "stop", token, routes));
      return;
    }
    const { logprobs } = request;
    const logprob = logprobs === null ? null : readSampledLogprob(arrays, index, logprobs);
    events.push({ sequence, event: { kind: "token", token, logprob, routes } });
    if (sequence.outputLength >= request.maxTokens) {
      events.push(this.#finish(sequence, "length", null));
    } else {
      request.mask?.accept(token);
    }
  }

  #finish(
    sequence: Sequence,
    reason: FinishReason,
    stopToken: number | null,
    routes: Routes | null = null,
  ): SequenceEvent {
    this.#leave(sequence, "ended");
    const event: GenerationEvent = {
      kind: "finish",
      reason,
      stopToken,
      routes,
      completionTokens: sequence.outputLength,
    };
    return { sequence, event };
  }

  #end(sequence: Sequence, code: ErrorCode, message = new ApiError(code).message): SequenceEvent {
    this.#leave(sequence, "ended");
    return { sequence, event: { kind: "error", code, message } };
  }

  /** Takes a sequence out of all further steps. */
  #leave(sequence: Sequence, phase: "preempted" | "ended"): void {
    const { phase: before } = sequence;
    sequence.phase = phase;
    if (before === "waiting") {
      this.#queue.remove(sequence);
      return;
    }
    if (before === "running") this.#running.splice(this.#running.indexOf(sequence), 1);
    this.#leaving.add(sequence);
    this.#releaseWhenDone(sequence);
  }

  /** Frees what a leaving sequence holds once no queued step uses it. */
  #releaseWhenDone(sequence: Sequence): void {
    if (sequence.queuedSteps > 0) return;
    this.#leaving.delete(sequence);
    this.kv.release(sequence.blocks);
    this.#slots.push(sequence.slot!);
    this.adapters.removeUser(sequence.adapters);
    sequence.forgetComputation();
    if (sequence.phase !== "preempted") return;
    sequence.phase = "waiting";
    this.#queue.add(sequence);
  }
}
