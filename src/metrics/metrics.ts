import { Registry } from "prom-client";
import { type NativeEngine, PAGE_TOKENS, STATS, type StatName } from "../engine/native.js";
import type { ErrorCode } from "../errors.js";
import type { Callback, Hold } from "../hold.js";
import type { CertificateFacts } from "../http/tls.js";
import { residentMemory } from "../resident-memory.js";
import type { Scheduler } from "../scheduler/scheduler.js";
import { AdapterUse } from "./adapter-use.js";
import { ExpertCounts } from "./expert-counts.js";
import { createInstruments, showTotal } from "./instruments.js";
import { MODEL_METRICS, SERVER_METRICS } from "./table.js";

/** Where the values that are read, not observed, come from. */
export interface MetricsSource {
  readonly modelName: string;
  readonly engine: NativeEngine;
  readonly scheduler: Scheduler;
  readonly maxLoadedAdapters: number;
  readonly adapters: AdapterNames;
}

/** The registered adapters. A scrape asks for those in use alone, however many there are. */
export interface AdapterNames {
  readonly size: number;
  nameOf(adapter: number): string | undefined;
}

export type EndReason = "stop" | "length" | "abort" | "error";

/** A request's life in seconds, and what it computed. */
export interface RequestRecord {
  readonly reason: EndReason;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly generatedTokens: number;
  readonly maxTokens: number;
  readonly queued: number;
  readonly prefill: number | null; // null: it ended before its first token
  readonly decode: number;
}

/** The tiers of experts: in host memory, and in that of a device which has its own. */
const HOST = { tier: "host" };
const DEVICE = { tier: "gpu" };

/** All metrics of one server. Building the text takes under a millisecond, so a scrape is never stale. */
export class Metrics {
  readonly adapterUse = new AdapterUse();
  readonly #modelRegistry = new Registry();
  readonly #serverRegistry = new Registry();
  readonly #model = createInstruments(MODEL_METRICS, this.#modelRegistry);
  readonly #server = createInstruments(SERVER_METRICS, this.#serverRegistry);
  readonly #expertCounts = new ExpertCounts();
  readonly #stats = new Float64Array(STATS.length);
  #source: MetricsSource | null = null;
  #onStep: ((rows: number, seconds: number) => void) | null = null;
  #generatedTokens = 0;
  #loraLabels = "";
  #loraChanged = 0;

  constructor() {
    for (const reason of ["queue", "export"] as const) this.spansDropped(reason, 0);
  }

  /** Starts to read `source`. */
  async watch(source: MetricsSource): Promise<void> {
    this.#source = source;
    this.#modelRegistry.setDefaultLabels({ model_name: source.modelName, engine: "0" });
    const { kvPages } = source.engine.info;
    this.#server.cacheConfig.set({ block_size: PAGE_TOKENS, num_gpu_blocks: kvPages }, 1);
    await this.text(); // the first one is slow
  }

  /** `onStep` hears of every step from now on. */
  followSteps(onStep: (rows: number, seconds: number) => void): void {
    this.#onStep = onStep;
  }

  /** What /metrics answers, in Prometheus' text format; before there is a source, of the server alone. */
  async text(): Promise<string> {
    this.#readProcess();
    if (this.#source === null) return this.#serverRegistry.metrics();
    this.#read(this.#source);
    const texts = await Promise.all([
      this.#modelRegistry.metrics(),
      this.#serverRegistry.metrics(),
    ]);
    return texts.join("\n");
  }

  held(callback: Callback, { seconds, cpuSeconds }: Hold): void {
    this.#server.hold.observe(seconds, callback);
    this.#server.holdCpu.observe(cpuSeconds, callback);
  }

  refused(code: ErrorCode): void {
    this.#server.refusals.inc({ reason: code });
  }

  /** An adapter, or the fallback, was found for a request to the model auto. */
  autoChoice(found: "adapter" | "fallback", seconds: number): void {
    this.#server.autoChoices.observe(seconds, found);
  }

  /** The certificate that is served from now on. */
  certificate({ subject, validTo }: CertificateFacts): void {
    this.#server.certificateEnds.reset();
    this.#server.certificateEnds.set({ subject }, Date.parse(validTo) / 1000);
  }

  spansSent(spans: number): void {
    this.#server.spansSent.inc(spans);
  }

  spansDropped(reason: "queue" | "export", spans: number): void {
    this.#server.spansDropped.inc({ reason }, spans);
  }

  step(rows: number, seconds: number): void {
    this.#model.iterationTokens.observe(rows);
    this.#server.stepSeconds.observe(seconds);
    this.#onStep?.(rows, seconds);
  }

  admitted(promptTokens: number, cachedTokens: number): void {
    this.#model.promptTokens.inc(promptTokens);
    this.#model.cachedTokens.inc(cachedTokens);
  }

  /** A token's bytes were written; `computed` is when the engine had it, in ms of process.hrtime. */
  delivered(computed: number): void {
    const [seconds, nanoseconds] = process.hrtime();
    this.#server.delivery.observe(seconds + nanoseconds / 1e9 - computed / 1000);
  }

  firstToken(seconds: number): void {
    this.#model.firstToken.observe(seconds);
    this.#generatedTokens += 1;
  }

  nextToken(secondsSincePrevious: number): void {
    this.#model.interToken.observe(secondsSincePrevious);
    this.#generatedTokens += 1;
  }

  requestEnded(record: RequestRecord): void {
    const { prefill, decode, queued, generatedTokens } = record;
    this.#model.success.inc({ finished_reason: record.reason });
    this.#model.requestPromptTokens.observe(record.promptTokens);
    this.#model.requestGeneratedTokens.observe(generatedTokens);
    this.#model.requestMaxTokens.observe(record.maxTokens);
    this.#model.queueTime.observe(queued);
    if (prefill === null) return;
    this.#model.prefillTime.observe(prefill);
    this.#model.decodeTime.observe(decode);
    this.#model.inferenceTime.observe(prefill + decode);
    this.#model.endToEnd.observe(queued + prefill + decode);
    if (generatedTokens > 1) this.#model.perOutputToken.observe(decode / (generatedTokens - 1));
  }

  #readProcess(): void {
    const { user, system } = process.cpuUsage();
    showTotal(this.#server.cpuSeconds, (user + system) / 1e6);
    this.#server.residentMemory.set(residentMemory());
  }

  #read(source: MetricsSource): void {
    const { engine, scheduler } = source;
    const { waiting, running, kv, totals, adapters } = scheduler;
    const pinned = new Set(adapters.pinned());
    const missing = waiting.map(({ adapters }) => adapters.filter((it) => !pinned.has(it)));
    const deferred = missing.filter((adapters) => adapters.length > 0);
    this.#model.running.set(running.length);
    this.#model.waiting.set(waiting.length);
    this.#model.waitingByReason.set({ reason: "deferred" }, deferred.length);
    this.#model.waitingByReason.set({ reason: "capacity" }, waiting.length - deferred.length);
    this.#model.kvUsage.set(1 - kv.free / kv.count);
    showTotal(this.#model.generatedTokens, this.#generatedTokens);
    showTotal(this.#model.preemptions, totals.preemptions);
    showTotal(this.#model.prefixQueries, totals.prefixQueries);
    showTotal(this.#model.prefixHits, totals.prefixHits);

    engine.stats(this.#stats);
    this.#readStats();
    const resident = adapters.resident((adapter) => engine.adapterPlace(adapter).resident);
    this.#server.registeredAdapters.set(source.adapters.size);
    this.#readAdapters(source, resident, new Set(deferred.flat()));
  }

  #readStats(): void {
    const value = (name: StatName) => this.#stats[STATS.indexOf(name)] ?? 0;
    const server = this.#server;
    showTotal(server.steps, value("steps"));
    showTotal(server.rows, value("rows"));
    showTotal(server.sampledRows, value("sampledRows"));
    showTotal(server.basePasses, value("basePasses"));
    showTotal(server.engineSeconds, value("stepSeconds"));
    showTotal(server.adapterRows, value("adapterRows"));
    showTotal(server.expertHits, value("expertHits"), HOST);
    showTotal(server.expertMisses, value("expertMisses"), HOST);
    showTotal(server.expertLoads, value("expertLoads"), HOST);
    showTotal(server.expertEvictions, value("expertEvictions"), HOST);
    showTotal(server.expertLoadBytes, value("expertLoadBytes"), HOST);
    showTotal(server.expertLoadSeconds, value("expertLoadSeconds"), HOST);
    server.residentBytes.set(HOST, value("residentBytes"));
    server.residentPages.set(HOST, value("residentPages"));
    server.residentAdapters.set(HOST, value("residentAdapters"));
    server.adapterBudget.set(HOST, value("adapterBudgetBytes"));
    if (value("deviceBudgetBytes") > 0) this.#readDevice(value);
    server.weightBytes.set(value("weightBytes"));
    server.kvBytes.set(value("kvBytes"));
  }

  #readDevice(value: (name: StatName) => number): void {
    const server = this.#server;
    showTotal(server.expertHits, value("deviceHits"), DEVICE);
    showTotal(server.expertMisses, value("deviceMisses"), DEVICE);
    showTotal(server.expertLoads, value("deviceLoads"), DEVICE);
    showTotal(server.expertEvictions, value("deviceEvictions"), DEVICE);
    showTotal(server.expertLoadBytes, value("deviceLoadBytes"), DEVICE);
    showTotal(server.expertLoadSeconds, value("deviceLoadSeconds"), DEVICE);
    server.residentBytes.set(DEVICE, value("deviceBytes"));
    server.residentPages.set(DEVICE, value("devicePages"));
    server.residentAdapters.set(DEVICE, value("deviceAdapters"));
    server.adapterBudget.set(DEVICE, value("deviceBudgetBytes"));
    showTotal(server.graphLaunches, value("graphLaunches"));
    showTotal(server.graphCaptures, value("graphCaptures"));
    showTotal(server.graphUpdates, value("graphUpdates"));
    showTotal(server.graphDirect, value("graphDirect"));
  }

  #readAdapters(
    source: MetricsSource,
    resident: readonly number[],
    deferred: ReadonlySet<number>,
  ): void {
    const list = (adapters: Iterable<number>) =>
      [...adapters]
        .flatMap((adapter) => source.adapters.nameOf(adapter) ?? [])
        .sort()
        .join(",");
    const labels = {
      max_lora: String(source.maxLoadedAdapters),
      running_lora_adapters: list(resident),
      waiting_lora_adapters: list(deferred),
    };
    const key = JSON.stringify(labels);
    if (key !== this.#loraLabels) {
      this.#loraLabels = key;
      this.#loraChanged = Date.now() / 1000;
    }
    this.#server.loraInfo.reset();
    this.#server.loraInfo.set(labels, this.#loraChanged);

    const { expertTokens, adapterRequests, adapterTokens } = this.#server;
    for (const counter of [expertTokens, adapterRequests, adapterTokens]) counter.reset();
    const counts = this.#expertCounts.look(resident, (adapter) => source.engine.routing(adapter));
    for (const adapter of resident) {
      const name = source.adapters.nameOf(adapter);
      if (name === undefined) continue;
      const { requests, tokens } = this.adapterUse.of(adapter);
      adapterRequests.inc({ adapter: name }, requests);
      adapterTokens.inc({ adapter: name }, tokens);
      counts.get(adapter)?.forEach((experts, level) => {
        experts.forEach((tokens, expert) => {
          expertTokens.inc({ adapter: name, level, expert }, tokens);
        });
      });
    }
  }
}
