import {
  type NativeAdapterInfo,
  type NativeEngine,
  STATS,
  type StatName,
  type StepArrays,
} from "../engine/native.js";
import { allocateStepArrays } from "../engine/step-batch.js";
import { mixOf } from "../scheduler/mix.js";
import { type GenerateRequest, GREEDY } from "../scheduler/request.js";
import { Scheduler } from "../scheduler/scheduler.js";
import type { PlannedStep } from "../scheduler/step-draft.js";
import { StageClock, type StageResult } from "./bench-stages.js";
import { CommandError } from "./command.js";

/** Streams that start together. */
export interface Workload {
  readonly name: string;
  readonly adapters: readonly number[]; // one stream each
  readonly prompt: number | null; // tokens; null = short ones that fit one step together
  readonly tokens: number; // generated per stream in the measured time; 0 = measure the prompts
}

export interface BenchResult {
  readonly name: string;
  readonly streams: number;
  readonly distinctAdapters: number;
  readonly tokensPerSecond: number;
  readonly stepMilliseconds: number;
  readonly betweenSteps: number; // share of the time in which no step ran
  readonly weightGigabytesPerSecond: number; // base weights read
  readonly steps: number;
  readonly rowsPerStep: number;
  readonly basePassesPerStep: number;
  readonly adapterBytesPerStep: number; // trunks, and as many pages as steps used
  readonly stages: readonly StageResult[];
}

interface Flight {
  readonly step: PlannedStep;
  readonly done: Promise<number>;
}

const SHORT_PROMPT = 16;

/** Runs workloads on the engine by the scheduler that the server uses, without text or network. */
export class EngineBench {
  readonly #engine: NativeEngine;
  readonly #adapters: ReadonlyMap<number, NativeAdapterInfo>;
  readonly #batches: readonly { readonly arrays: StepArrays; readonly number: number }[];
  #turn = 0;
  #seed = 1;

  /** Adapters that workloads may name, by their handles. */
  constructor(engine: NativeEngine, adapters: ReadonlyMap<number, NativeAdapterInfo>) {
    this.#engine = engine;
    this.#adapters = adapters;
    this.#batches = [0, 1].map(() => {
      const arrays = allocateStepArrays(engine.info.limits);
      return { arrays, number: engine.createBatch(arrays) };
    });
  }

  async run(workload: Workload): Promise<BenchResult> {
    const { limits, slots, kvPages, weightBytes } = this.#engine.info;
    // Nobody comes meanwhile: prompts fill their steps.
    const prefill = (room: number) => room;
    const scheduler = new Scheduler({ limits, slots, pages: kvPages, prefill });
    await this.#pin(scheduler, workload.adapters);
    const streams = workload.adapters.length;
    const short = Math.max(1, Math.min(SHORT_PROMPT, Math.floor(limits.rows / streams)));
    const length = workload.prompt ?? short;
    for (const adapter of workload.adapters) {
      scheduler.submit(this.#request(adapter, length, workload.tokens));
    }
    if (workload.tokens > 0) await this.#startStreams(scheduler);
    const done = scheduler.running.reduce((sum, { outputLength }) => sum + outputLength, 0);
    const before = this.#stats();
    const stages = new StageClock(this.#engine);
    const started = performance.now();
    await this.#finish(scheduler);
    const seconds = (performance.now() - started) / 1000;
    const after = this.#stats();
    for (const adapter of scheduler.adapters.pinned()) this.#engine.releaseAdapter(adapter);

    const count = (name: StatName) => after(name) - before(name);
    const generated = streams * (workload.tokens + 1) - done;
    const tokens = workload.tokens > 0 ? generated : length * streams;
    const steps = count("steps");
    const distinct = new Set(workload.adapters.filter((adapter) => adapter !== 0));
    const pageUses = (count("expertHits") + count("expertMisses")) / steps;
    return {
      name: workload.name,
      streams,
      distinctAdapters: distinct.size,
      tokensPerSecond: tokens / seconds,
      stepMilliseconds: (1000 * seconds) / steps,
      betweenSteps: 1 - count("stepSeconds") / seconds,
      weightGigabytesPerSecond: (count("basePasses") * weightBytes) / seconds / 1e9,
      steps,
      rowsPerStep: count("rows") / steps,
      basePassesPerStep: count("basePasses") / steps,
      adapterBytesPerStep: this.#adapterBytes([...distinct], pageUses),
      stages: stages.read(steps),
    };
  }

  /** Pages count with their mean size. */
  #adapterBytes(handles: readonly number[], pageUses: number): number {
    let [trunks, pageBytes, pages] = [0, 0, 0];
    for (const handle of handles) {
      const info = this.#adapters.get(handle)!;
      trunks += info.trunkBytes;
      pageBytes += info.bytes - info.trunkBytes;
      pages += info.pages;
    }
    return trunks + (pages > 0 ? (pageUses * pageBytes) / pages : 0);
  }

  async #pin(scheduler: Scheduler, adapters: readonly number[]): Promise<void> {
    for (const adapter of adapters) if (adapter !== 0) scheduler.adapters.want(adapter);
    for (const adapter of scheduler.adapters.toAcquire.splice(0)) {
      if (!(await this.#engine.acquireAdapter(adapter))) {
        throw new CommandError(
          "the adapters do not fit together: raise --adapter-memory or --max-loaded-adapters",
        );
      }
      scheduler.adapters.granted(adapter);
    }
  }

  /** Until every stream has its first token, and no step is queued. */
  async #startStreams(scheduler: Scheduler): Promise<void> {
    do {
      const flight = this.#launch(scheduler);
      if (flight === null) throw new CommandError("the streams do not fit: raise --kv-memory");
      await flight.done;
      scheduler.commit(flight.step);
    } while (
      scheduler.waiting.length > 0 ||
      scheduler.running.some(({ outputLength }) => outputLength === 0)
    );
  }

  /** Runs everything to its end, with a step queued ahead. */
  async #finish(scheduler: Scheduler): Promise<void> {
    let running = this.#launch(scheduler);
    while (running !== null) {
      const next = this.#launch(scheduler);
      await running.done;
      scheduler.commit(running.step);
      running = next ?? this.#launch(scheduler);
    }
  }

  #launch(scheduler: Scheduler): Flight | null {
    const batch = this.#batches[this.#turn]!;
    const step = scheduler.plan(batch.arrays);
    if (step === null) return null;
    this.#turn = 1 - this.#turn;
    return { step, done: this.#engine.step(batch.number) };
  }

  #stats(): (name: StatName) => number {
    const values = new Float64Array(STATS.length);
    this.#engine.stats(values);
    return (name) => values[STATS.indexOf(name)]!;
  }

  /** The first token comes with the prompt, before the measured time. */
  #request(adapter: number, length: number, tokens: number): GenerateRequest {
    return {
      prompt: Array.from({ length }, () => this.#randomToken()),
      mix: mixOf(adapter),
      priority: 0,
      sampling: GREEDY,
      maxTokens: tokens + 1,
      stopTokens: new Set(),
      ignoreEos: true,
      logprobs: null,
      promptLogprobs: null,
      pooled: false,
      mask: null,
      routes: null,
      onEvent: () => {},
    };
  }

  #randomToken(): number {
    this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) >>> 0;
    return this.#seed % this.#engine.info.vocab;
  }
}
