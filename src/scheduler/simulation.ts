import { allowedToken, digestOf, FakeModel, sampleAfter } from "../engine/fake-engine.js";
import type { StepArrays } from "../engine/native.js";
import { allocateStepArrays } from "../engine/step-batch.js";
import { type Mix, mixOf, type RouteWish } from "./mix.js";
import { type GenerateRequest, type GenerationEvent, GREEDY, type Origin } from "./request.js";
import { Scheduler, type SequenceEvent } from "./scheduler.js";
import { hasPenalties, type Sequence } from "./sequence.js";
import type { PlannedStep } from "./step-draft.js";
import type { TokenMask } from "./token-mask.js";

export const VOCAB = 50;
export const STOP_TOKENS: ReadonlySet<number> = new Set([0]);

export interface Machine {
  readonly maxBatch: number;
  readonly maxRows: number;
  readonly pages: number;
  readonly maxPinned: number;
}

/** What a test says of a request; the rest is neutral. */
export interface Job {
  readonly prompt: readonly number[];
  readonly mix: Mix;
  readonly priority?: number;
  readonly maxTokens: number;
  readonly seed: number;
  readonly penalties: boolean;
  readonly masked?: boolean;
  readonly ignoreEos: boolean;
  readonly promptLogprobs: boolean;
  readonly pooled?: boolean;
  readonly routed?: boolean;
  readonly origin?: Origin;
}

/** More than any schedule of the tests takes. */
const MOST_TURNS = 20_000;

/** Two layers of the fake model; a step has room for one sequence's. */
export const ROUTED: RouteWish = { layers: [1, 4], pairs: 2 };

export interface Outcome {
  readonly sequence: Sequence;
  readonly events: GenerationEvent[];
  cancelled: boolean;
}

export function requestOf(job: Job): GenerateRequest {
  return {
    prompt: job.prompt,
    mix: job.mix,
    priority: job.priority ?? 0,
    sampling: {
      ...GREEDY,
      presencePenalty: job.penalties ? 0.5 : 0,
      seed: BigInt(job.seed),
    },
    maxTokens: job.maxTokens,
    stopTokens: STOP_TOKENS,
    ignoreEos: job.ignoreEos,
    logprobs: null,
    promptLogprobs: job.promptLogprobs ? 1 : null,
    pooled: job.pooled ?? false,
    mask: job.masked === true ? new LateMask() : null,
    routes: job.routed === true ? ROUTED : null,
    ...(job.origin === undefined ? {} : { origin: job.origin }),
    onEvent: () => {},
  };
}

/** A grammar of sorts: which tokens may come depends on the one before. */
function maskAfter(previous: number): Uint32Array {
  const mask = new Uint32Array(Math.ceil(VOCAB / 32));
  for (let token = 0; token < VOCAB; token++) {
    if ((token + previous) % 3 !== 0) mask[token >> 5]! |= 1 << (token & 31);
  }
  return mask;
}

/** Made when the test says so, as by a worker that takes its time. */
class LateMask implements TokenMask {
  readonly failure = null;
  readonly made = Promise.resolve();
  bits: Uint32Array | null = null;
  #previous = 0;

  accept(token: number): void {
    this.#previous = token;
    this.bits = null;
  }

  make(): boolean {
    const made = this.bits === null;
    this.bits ??= maskAfter(this.#previous);
    return made;
  }
}

/** What the fake model generates for a request that runs alone. */
export function generateAlone(request: GenerateRequest): number[] {
  const tokens = [...request.prompt];
  const sampled: number[] = [];
  while (sampled.length < request.maxTokens) {
    const history = hasPenalties(request) ? tokens : null;
    const digest = digestOf(request.mix, tokens);
    const seed = Number(request.sampling.seed);
    const wanted = sampleAfter(digest, seed, sampled.length, history, VOCAB);
    const mask = maskAfter(sampled.at(-1) ?? 0);
    const token = request.mask === null ? wanted : allowedToken(mask, wanted, VOCAB);
    tokens.push(token);
    if (!request.ignoreEos && request.stopTokens.has(token)) break;
    sampled.push(token);
  }
  return sampled;
}

/**
 * Drives a scheduler against the fake model one decision at a time, as the loop and the engine would,
 * but in whatever order a test wants. For tests.
 */
export class Simulation {
  readonly scheduler: Scheduler;
  readonly outcomes: Outcome[] = [];
  steps = 0;
  readonly #model = new FakeModel(VOCAB);
  readonly #idle: StepArrays[];
  readonly #queued: PlannedStep[] = [];
  readonly #acquiring: number[] = [];
  readonly #pinned = new Set<number>();
  readonly #maxPinned: number;

  constructor({ maxBatch, maxRows, pages, maxPinned }: Machine) {
    const limits = {
      rows: maxRows,
      sequences: maxBatch,
      blocks: maxBatch * pages,
      history: pages * 16 + 1,
      biases: 0,
      bans: maxBatch * 8,
      routes: ROUTED.pairs,
      width: 1,
      maskWords: maskAfter(0).length,
      layerWords: 1,
    };
    this.scheduler = new Scheduler({ limits, slots: 2 * maxBatch, pages });
    this.#idle = [allocateStepArrays(limits), allocateStepArrays(limits)];
    this.#maxPinned = maxPinned;
  }

  submit(job: Job): Outcome {
    const sequence = this.scheduler.submit(requestOf(job));
    const outcome = { sequence, events: [], cancelled: false };
    this.outcomes.push(outcome);
    return outcome;
  }

  cancel(index: number): void {
    const outcome = this.outcomes[index % Math.max(this.outcomes.length, 1)];
    if (outcome === undefined || outcome.sequence.phase === "ended") return;
    outcome.cancelled = true;
    this.scheduler.cancel(outcome.sequence);
  }

  /** Plans a step when a batch is idle. False when nothing could be planned. */
  plan(): boolean {
    const arrays = this.#idle.pop();
    if (arrays === undefined) return false;
    const step = this.scheduler.plan(arrays);
    if (step === null) this.#idle.push(arrays);
    else this.#queued.push(step);
    this.#movePins();
    const hopeless = this.scheduler.failHopeless();
    this.#deliver(hopeless);
    this.scheduler.check();
    return step !== null || hopeless.length > 0;
  }

  /** Runs the oldest queued step and commits it, twice: the second time must change nothing. */
  finishStep(fails = false): boolean {
    const step = this.#queued.shift();
    if (step === undefined) return false;
    this.steps += 1;
    this.#model.run(step.arrays);
    const events = fails ? this.scheduler.fail(step, "failed") : this.scheduler.commit(step);
    events.push(...this.scheduler.commit(step));
    this.#deliver(events);
    this.#idle.push(step.arrays);
    this.scheduler.check();
    return true;
  }

  /** The engine answers one of the requests for an adapter that it works at. */
  answerAcquisition(choice = 0): boolean {
    const [adapter] = this.#acquiring.splice(choice % Math.max(this.#acquiring.length, 1), 1);
    if (adapter === undefined) return false;
    if (this.#pinned.size < this.#maxPinned) {
      this.#pinned.add(adapter);
      this.scheduler.adapters.granted(adapter);
    } else {
      this.scheduler.adapters.refused(adapter);
    }
    return true;
  }

  /** Every mask that is waited for is there. False when there was none. */
  makeMasks(): boolean {
    const live = this.outcomes.filter(({ sequence }) => sequence.phase !== "ended");
    const made = live.map(({ sequence }) => (sequence.request.mask as LateMask | null)?.make());
    return made.includes(true);
  }

  /** Runs until nothing is left; throws when it stands still before that. */
  drain(): void {
    for (let turns = 0; !this.scheduler.idle || this.#queued.length > 0; turns++) {
      if (turns > MOST_TURNS) throw new Error("the scheduler works without getting on");
      const moved = [
        this.answerAcquisition(),
        this.makeMasks(),
        this.plan(),
        this.plan(),
        this.finishStep(),
      ];
      // Dropping a pin lets a refused adapter be asked for at the next plan.
      if (!moved.includes(true) && !this.plan() && this.#acquiring.length === 0) {
        throw new Error("the scheduler stands still with work left");
      }
    }
    this.plan();
    this.scheduler.check();
  }

  get pinned(): number {
    return this.#pinned.size;
  }

  #deliver(events: readonly SequenceEvent[]): void {
    for (const { sequence, event } of events) this.outcomes[sequence.number]!.events.push(event);
  }

  #movePins(): void {
    for (const adapter of this.scheduler.adapters.toRelease.splice(0)) {
      if (!this.#pinned.delete(adapter)) throw new Error(`adapter ${adapter} was not pinned`);
    }
    this.#acquiring.push(...this.scheduler.adapters.toAcquire.splice(0));
  }
}

/** A request and a machine without anything odd. */
export const plain: Job = {
  prompt: [1, 2, 3],
  mix: mixOf(0),
  maxTokens: 8,
  seed: 0,
  penalties: false,
  ignoreEos: true,
  promptLogprobs: false,
};
export const roomy: Machine = { maxBatch: 4, maxRows: 64, pages: 64, maxPinned: 2 };
