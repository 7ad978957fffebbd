import type { NativeEngine, StepArrays } from "../engine/native.js";
import { allocateStepArrays } from "../engine/step-batch.js";
import { ApiError } from "../errors.js";
import { entered } from "../hold.js";
import type { Logger } from "../log.js";
import type { Metrics } from "../metrics/metrics.js";
import { RequestClock } from "../metrics/request-clock.js";
import { passed, socketsSeen } from "../turns.js";
import { Admission, type QueueLimits } from "./admission.js";
import { Patience } from "./patience.js";
import { timeToPlan } from "./policy.js";
import type { GenerateRequest, Generation, Generator, Reservation } from "./request.js";
import { Scheduler, type SequenceEvent } from "./scheduler.js";
import type { Sequence } from "./sequence.js";
import type { PlannedStep } from "./step-draft.js";
import { masksInWork } from "./token-mask.js";

export interface LoopOptions {
  readonly engine: NativeEngine;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly queue: QueueLimits;
  /** How long a request may wait while its adapter is being loaded. */
  readonly adapterWaitMs: number;
  /** Hears, once, that the engine's device has failed: no step will succeed any more. */
  readonly onBroken?: (reason: string) => void;
}

interface Batch {
  readonly arrays: StepArrays;
  readonly number: number;
}

interface Flight {
  readonly step: PlannedStep;
  readonly launched: number;
  readonly expected: number; // seconds that the engine will take for it
  /** When it was done, or why it failed. */
  readonly outcome: Promise<number | Error>;
}

/**
 * Adapters made resident at a time. Each holds one of the four threads that Node.js shares with
 * tokenizing and files: a crowd of cold adapters must not hold up everybody else.
 */
const MOST_ACQUIRED_AT_ONCE = 2;

/**
 * After so many seconds of event callbacks, the commit before them included, the event loop looks at everything
 * else. Short beside the 5 ms that are allowed: whoever has to wait for a core meanwhile waits for a tick, 4 ms.
 */
const HOLD_SECONDS = 0.001;

/** Masks are waited for so long before a step is planned without them. */
const MASK_MS = 2;

/**
 * Drives the engine: while one step runs, the next is planned and queued behind it; then the first
 * one's tokens go out. Everything here happens on the event loop, so submitting and cancelling are
 * plain calls; the next plan sees them.
 */
export class EngineLoop implements Generator {
  readonly scheduler: Scheduler;
  readonly #engine: NativeEngine;
  readonly #metrics: Metrics;
  readonly #log: Logger;
  readonly #admission: Admission;
  readonly #batches: readonly [Batch, Batch];
  readonly #clocks = new Map<Sequence, RequestClock>(); // of requests that may still get events
  readonly #patience: Patience;
  readonly #retired = new Set<number>(); // adapters to be unloaded once nobody uses them
  readonly #toLoad: number[] = []; // adapters that the engine will be asked for
  #acquiring = 0;
  #onBroken: ((reason: string) => void) | undefined;
  #nextBatch = 0;
  #lastLanding = 0;
  #wake: (() => void) | null = null;
  #draining = false;

  constructor({ engine, metrics, log, queue, adapterWaitMs, onBroken }: LoopOptions) {
    const { limits, slots, kvPages } = engine.info;
    this.scheduler = new Scheduler({ limits, slots, pages: kvPages });
    this.#engine = engine;
    this.#metrics = metrics;
    this.#log = log;
    this.#onBroken = onBroken;
    this.#patience = new Patience(adapterWaitMs, (sequence) => {
      this.#giveUp(sequence, adapterWaitMs / 1000);
    });
    this.#admission = new Admission(queue, () => {
      const { waiting, waitingTokens, running } = this.scheduler;
      const free = limits.sequences - running.length; // some wait for the next plan only
      return { requests: waiting.length, tokens: waitingTokens, free };
    });
    const createBatch = (): Batch => {
      const arrays = allocateStepArrays(limits);
      return { arrays, number: engine.createBatch(arrays) };
    };
    this.#batches = [createBatch(), createBatch()];
  }

  /** Until drained. Rejects only by a fault of ours. */
  async run(): Promise<void> {
    let running: Flight | null = null;
    while (running !== null || !this.#drained) {
      if (running !== null) await this.#timeToPlan(running);
      // A client that has left by now is in no step that is planned from here on.
      if (running !== null) await socketsSeen();
      entered("plan");
      await this.#settleMasks();
      const next = this.#launch();
      if (running !== null) await this.#land(running);
      else if (next === null && !this.#drained) await this.#sleep();
      running = next;
    }
  }

  /** The step behind a running one is planned late, so that who comes meanwhile is in it. */
  async #timeToPlan({ launched, expected, outcome }: Flight): Promise<void> {
    const began = Math.max(launched, this.#lastLanding);
    const ms = began + 1000 * timeToPlan(expected) - performance.now();
    if (ms >= 1) await passed(ms, outcome);
  }

  get #drained(): boolean {
    return this.#draining && this.scheduler.idle;
  }

  reserve(requests: number, tokens: number): Reservation {
    if (this.#draining) throw new ApiError("draining");
    return this.#admission.reserve(requests, tokens);
  }

  submit(request: GenerateRequest): Generation {
    if (this.#draining) throw new ApiError("draining");
    const sequence = this.scheduler.submit(request);
    this.#clocks.set(sequence, new RequestClock(this.#metrics, performance.now()));
    this.#patience.add(sequence);
    this.#awake();
    return {
      get cachedTokens() {
        return sequence.cachedTokens ?? 0;
      },
      cancel: (reason = "abort") => this.#cancel(sequence, reason),
    };
  }

  /** Takes no more requests; `run` returns once those it has are done. */
  drain(): void {
    this.#draining = true;
    this.#awake();
  }

  /** Loads an adapter and keeps it in memory until it is retired. False when there is no room. */
  async keep(adapter: number): Promise<boolean> {
    const kept = await this.#engine.acquireAdapter(adapter);
    if (kept) this.scheduler.adapters.keep(adapter);
    return kept;
  }

  /** How many generations go through an adapter now. */
  running(adapter: number): number {
    return this.scheduler.adapters.usersOf(adapter);
  }

  /** The engine forgets an adapter that no new request can name, once those that do have ended. */
  retire(adapter: number): void {
    this.#retired.add(adapter);
    this.#awake();
  }

  #unloadRetired(): void {
    const { adapters } = this.scheduler;
    for (const adapter of this.#retired) {
      if (this.scheduler.uses(adapter)) continue;
      this.#retired.delete(adapter);
      if (adapters.isKept(adapter)) this.#engine.releaseAdapter(adapter);
      adapters.forget(adapter);
      this.#metrics.adapterUse.forget(adapter);
      this.#engine.unloadAdapter(adapter);
    }
  }

  /** Ends a request whose adapter was not loaded in time. */
  #giveUp(sequence: Sequence, seconds: number): void {
    const { adapters } = this.scheduler;
    const late = sequence.adapters.find((adapter) => !adapters.hasAll([adapter]));
    if (late === undefined) return;
    const { residentBytes } = this.#engine.adapterPlace(late);
    const progress = `${residentBytes} bytes of it are in memory`;
    const message = `The adapter was not loaded within ${seconds} s (${progress}); try again later.`;
    const event = this.scheduler.giveUp(sequence, message);
    if (event !== null) void this.#emit([event], performance.now());
  }

  #forget(sequence: Sequence): void {
    this.#clocks.delete(sequence);
    this.#patience.remove(sequence);
  }

  #cancel(sequence: Sequence, reason: "stop" | "abort"): void {
    const clock = this.#clocks.get(sequence);
    if (clock === undefined) return;
    this.#forget(sequence);
    clock.ended(sequence, reason, performance.now());
    this.scheduler.cancel(sequence);
    this.#awake();
  }

  /**
   * Masks are made while a step runs. Those that are late are waited for, a moment only: a sequence without
   * its mask misses the step, and alone it would make the others' steps small.
   */
  async #settleMasks(): Promise<void> {
    const masks = masksInWork(this.scheduler.running);
    if (masks.length > 0) await passed(MASK_MS, Promise.all(masks.map(({ made }) => made)));
    const failed = this.scheduler.failMasks();
    if (failed.length > 0) await this.#emit(failed, performance.now());
  }

  /** Plans a step and hands it to the engine; null when there is nothing to compute. */
  #launch(): Flight | null {
    entered("plan");
    const launched = performance.now();
    const batch = this.#batches[this.#nextBatch]!;
    const step = this.#plan(batch.arrays);
    this.#unloadRetired();
    if (step === null) return null;

    this.#nextBatch = 1 - this.#nextBatch;
    for (const sequence of step.admitted) this.#clocks.get(sequence)?.admitted(sequence, launched);
    const outcome = this.#engine.step(batch.number).catch((error: Error) => error);
    return { step, launched, expected: this.scheduler.pace.secondsOf(step.work), outcome };
  }

  #plan(arrays: StepArrays): PlannedStep | null {
    for (;;) {
      let step = this.scheduler.plan(arrays);
      // A pin that was dropped may be what others wait for.
      while (this.#movePins() && step === null) step = this.scheduler.plan(arrays);
      const hopeless = this.scheduler.failHopeless();
      const [first] = hopeless;
      if (first === undefined) return step;
      const facts = { adapters: first.sequence.adapters, requestIds: requestIds(hopeless) };
      this.#log.error(facts, "adapters could not be made resident: they do not fit");
      void this.#emit(hopeless, performance.now());
      if (step !== null) return step;
    }
  }

  /** Waits for a step's results and passes them on. */
  async #land({ step, launched, outcome }: Flight): Promise<void> {
    const done = await outcome;
    entered("emit");
    const landed = performance.now();
    const seconds = (landed - Math.max(launched, this.#lastLanding)) / 1000;
    this.#metrics.step(step.work.rows, seconds);
    this.scheduler.pace.observe(step.work, seconds);
    this.#lastLanding = landed;
    if (done instanceof Error) {
      await this.#emit(this.#failStep(step, done), landed);
      return;
    }
    const events = this.scheduler.commit(step);
    const failed = events.filter(isError);
    if (failed.length > 0) this.#logFaults(failed);
    await this.#emit(events, landed, done);
  }

  #failStep(step: PlannedStep, error: NodeJS.ErrnoException): SequenceEvent[] {
    const events = this.scheduler.fail(step, error.message);
    const facts = { err: error, rows: step.work.rows, requestIds: requestIds(events) };
    this.#log.error(facts, "a step failed");
    if (error.code === "device") this.#break(error.message);
    return events;
  }

  #break(reason: string): void {
    this.#onBroken?.(reason);
    this.#onBroken = undefined;
  }

  /** Once per adapter, with what clients must not see: the engine's reason and its paths. */
  #logFaults(failed: readonly SequenceEvent[]): void {
    const told = new Set<number>();
    for (const { sequence, event } of failed) {
      if (event.kind !== "error") continue;
      for (const adapter of handlesOrBase(sequence)) {
        if (told.has(adapter)) continue;
        told.add(adapter);
        const affected = failed.filter((it) => handlesOrBase(it.sequence).includes(adapter));
        const fault = adapter === 0 ? "" : this.#engine.adapterPlace(adapter).fault;
        const facts = { adapter, code: event.code, fault, requestIds: requestIds(affected) };
        this.#log.error(facts, "a step failed some of its requests");
      }
    }
  }

  /** `computed`: when the engine had the tokens among the events, on the clock of process.hrtime. */
  async #emit(
    events: readonly SequenceEvent[],
    landed: number,
    computed: number | null = null,
  ): Promise<void> {
    let hold = entered("emit");
    for (const { sequence, event } of events) {
      if (hold.seconds > HOLD_SECONDS) {
        await new Promise(setImmediate);
        hold = entered("emit");
      }
      const clock = this.#clocks.get(sequence);
      if (clock === undefined) continue; // cancelled, maybe by its previous event
      if (event.kind === "finish" || event.kind === "error") this.#forget(sequence);
      clock.event(sequence, event, landed);
      try {
        sequence.request.onEvent(event);
        if (computed !== null && event.kind === "token") this.#metrics.delivered(computed);
      } catch (error) {
        const requestId = sequence.request.origin?.requestId;
        const facts = { requestId, err: error };
        this.#log.error(facts, "an event callback threw; its request is cancelled");
        this.#cancel(sequence, "abort");
      }
    }
  }

  /** Carries out what the scheduler decided about adapters. Whether a pin was dropped. */
  #movePins(): boolean {
    const { toAcquire, toRelease } = this.scheduler.adapters;
    const released = toRelease.splice(0);
    for (const adapter of released) this.#engine.releaseAdapter(adapter);
    for (const adapter of toAcquire.splice(0)) {
      const waiting = this.scheduler.waiting.filter(({ adapters }) => adapters.includes(adapter));
      this.#patience.loadBegan(adapter, waiting);
      this.#toLoad.push(adapter);
    }
    while (this.#acquiring < MOST_ACQUIRED_AT_ONCE && this.#toLoad.length > 0) {
      void this.#acquire(this.#toLoad.shift()!);
    }
    return released.length > 0;
  }

  async #acquire(adapter: number): Promise<void> {
    const { adapters } = this.scheduler;
    this.#acquiring += 1;
    const answer = await this.#engine.acquireAdapter(adapter).catch((error: Error) => error);
    entered("adapter");
    this.#acquiring -= 1;
    this.#patience.loadEnded(adapter);
    if (answer === true) adapters.granted(adapter);
    else if (answer === false) adapters.refused(adapter);
    else {
      const events = this.scheduler.failAdapter(adapter);
      const facts = { adapter, err: answer, requestIds: requestIds(events) };
      this.#log.error(facts, "an adapter could not be made resident");
      await this.#emit(events, performance.now());
    }
    this.#awake();
  }

  /** Until there is something to plan; a mask may be all that a sequence waits for, also one just let in. */
  #sleep(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      const masks = masksInWork(this.scheduler.running);
      for (const { made } of masks) void made.then(() => this.#awake());
    });
  }

  /** Ends the sleep at the end of this turn of the event loop: requests that came together start together. */
  #awake(): void {
    const wake = this.#wake;
    if (wake === null) return;
    this.#wake = null;
    setImmediate(wake);
  }
}

function isError({ event }: SequenceEvent): boolean {
  return event.kind === "error";
}

/** Of those whose clients named or were given one, each once: several generations may be one request's. */
function requestIds(events: readonly SequenceEvent[]): string[] {
  const ids = events.flatMap(({ sequence }) => sequence.request.origin?.requestId ?? []);
  return [...new Set(ids)];
}

/** What it goes through; 0 = the base alone. */
function handlesOrBase({ adapters }: Sequence): readonly number[] {
  return adapters.length === 0 ? [0] : adapters;
}
