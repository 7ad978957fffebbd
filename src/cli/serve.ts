import { availableParallelism } from "node:os";
import { setTimeout } from "node:timers/promises";
import type { ApiContext, Lifecycle } from "../api/context.js";
import { AUTO_MODEL, type Config, gpuOptions, readConfig, SERVE_OPTIONS } from "../config.js";
import { EncoderThread } from "../encoders/encoder.js";
import { HeapTrimmer } from "../engine/heap-trimmer.js";
import { type NativeEngine, PAGE_TOKENS } from "../engine/native.js";
import { GrammarService } from "../grammar/service.js";
import { sharedVocabulary } from "../grammar/vocabulary.js";
import { entered, type HoldListener, hearHolds } from "../hold.js";
import { readApiKeys } from "../http/api-key-file.js";
import type { ApiKey } from "../http/auth.js";
import { DEFAULT_LIMITS } from "../http/options.js";
import { PageFiles } from "../http/page-files.js";
import { createServer, type Server } from "../http/server.js";
import {
  type CertificateFacts,
  checkTlsFiles,
  followCertificate,
  type TlsFiles,
} from "../http/tls.js";
import { createLogger, type Logger } from "../log.js";
import { Metrics } from "../metrics/metrics.js";
import { RoutingSample } from "../metrics/routing-sample.js";
import { AdapterFolder } from "../models/adapter-folder.js";
import { AdapterRoots } from "../models/adapter-roots.js";
import { adapterFolders, adapterRoots, checkFolders } from "../models/adapter-sources.js";
import { AdapterRegistry } from "../models/adapters.js";
import { CardThread } from "../models/card-thread.js";
import { type ResolvedModel, readyModel, resolveModel } from "../models/resolve.js";
import type { Router, RouterOptions } from "../router/router.js";
import { EngineLoop } from "../scheduler/loop.js";
import type { Generator } from "../scheduler/request.js";
import type { Tracing } from "../telemetry/tracing.js";
import { noText, TokenStreamDecoder } from "../text/detokenizer.js";
import { loadText, type ModelText } from "../text/load-text.js";
import { VERSION } from "../version.js";
import { type BannerFacts, banner } from "./banner.js";
import { type Command, CommandError, type Terminal } from "./command.js";
import { loadEngine, native } from "./engine.js";
import { flagName, optionHelp, UsageError, unknownVariables } from "./options.js";
import { checkFallback, createRouter } from "./router.js";
import { adapterLog, progressOutput } from "./serve-log.js";
import { startTracing } from "./tracing.js";

const USAGE = `Usage: smore serve [OPTIONS]

Serves a model and its adapters over the OpenAI API.

${optionHelp(SERVE_OPTIONS)}

Every option can come from the environment: SMORE_PORT for --port, with commas
where an option is repeatable (SMORE_ADAPTER=a=./a,b=./b). Sizes: 512MiB, 4GiB, 25% (of
the memory where it lies: a GPU's for what is there).
SIGTERM and SIGINT finish what runs, then exit with 0; a second one, or one while loading, ends at once.

Examples:
  smore serve
  smore serve --model ./Llama-3.2-1B --adapter legal=./adapters/legal --port 9000
  smore serve --model model.gguf --adapters-dir ./adapters --adapter-memory 4GiB
  smore serve --host 0.0.0.0 --api-key-file ./keys --no-playground`;

/** The engine's threads wait for work by spinning: more than one here would only take turns with them. */
const ENCODER_THREADS = 1;

export const command: Command = {
  options: SERVE_OPTIONS,
  operands: "none",
  usage: USAGE,
  async run(args, terminal) {
    const config = readConfig(args, terminal.environment);
    if (config === null) {
      terminal.print(USAGE);
      return 0;
    }
    for (const name of unknownVariables(SERVE_OPTIONS, terminal.environment)) {
      terminal.complain(`smore: the variable ${name} is no option (smore serve --help lists them)`);
    }
    const { drainSignal, endBy, onHangup } = terminal;
    const ready = (facts: BannerFacts) => terminal.print(banner(facts));
    return await new Service(config, { drainSignal, endBy, onHangup, ready }).run();
  },
};

/** What a server needs of the program around it. */
export interface ServiceHost extends Pick<Terminal, "drainSignal" | "endBy" | "onHangup"> {
  /** Called once, when requests can be answered. */
  ready(facts: BannerFacts): void;
}

/** One server from start to end; the owner of its lifecycle. */
export class Service {
  readonly #config: Config;
  readonly #host: ServiceHost;
  readonly #log: Logger;
  readonly #tls: TlsFiles | null;
  readonly #server: Server;
  #lifecycle: Lifecycle = { phase: "loading", progress: 0, detail: "", context: null };
  readonly #metrics = new Metrics();
  #tracing: Tracing | null = null;

  constructor(config: Config, host: ServiceHost) {
    this.#config = config;
    this.#host = host;
    this.#log = createLogger(config.logLevel, config.logFormat);
    this.#tls = tlsFiles(config);
    const certificate = checkedCertificate(this.#tls);
    if (certificate !== null) this.#metrics.certificate(certificate);
    const heard: HoldListener = (callback, hold) => this.#metrics.held(callback, hold);
    hearHolds({ heard, cpuSeconds: native().threadCpuSeconds });
    this.#server = createServer({
      host: config.host,
      port: config.port,
      tls: this.#tls,
      corsOrigin: config.corsOrigin,
      apiKeys: apiKeys(config),
      limits: {
        ...DEFAULT_LIMITS,
        bodyBytes: config.maxBodyBytes,
        frameBytes: config.maxBodyBytes,
        requestMs: 1000 * config.requestTimeout || null,
      },
      lifecycle: () => this.#lifecycle,
      refused: (code) => this.#metrics.refused(code),
      metricsText: () => this.#metrics.text(),
      tracing: () => this.#tracing,
      version: VERSION,
      pages: config.noPlayground ? null : PageFiles.read(),
      log: this.#log,
    });
  }

  /**
   * Listens as soon as a model that is known to be right has been read for its text, which would hold the event loop; loads, serves until
   * told to stop, and finishes what runs.
   */
  async run(): Promise<number> {
    const stop = this.#host.drainSignal();
    const stopped = new Promise<void>((resolve) => stop.addEventListener("abort", () => resolve()));
    const started = performance.now();
    const local = await readyModel(this.#config.model);
    const known = local === null ? null : withText(local);
    const port = await this.#listen();
    this.#followCertificate(stop);
    const loading = this.#load(known);
    await Promise.race([loading, stopped]);
    if (stop.aborted) {
      this.#server.close();
      this.#host.endBy(stop.reason);
    }
    const { engine, loop, context, folders, encoder, router } = await loading;
    const running = loop.run();
    for (const folder of folders) void folder.watch(stop);
    new HeapTrimmer(native()).watch();
    this.#lifecycle = { phase: "ready", progress: 1, detail: "", context };
    const seconds = (performance.now() - started) / 1000;
    const { host } = this.#config;
    const scheme = this.#tls === null ? "http" : "https";
    const keys = apiKeys(this.#config).length > 0;
    this.#host.ready({ scheme, host, port, seconds, context, info: engine.info, keys });

    await Promise.race([running, stopped]);
    this.#lifecycle = { ...this.#lifecycle, phase: "draining" };
    const { running: steps, waiting } = loop.scheduler;
    const requests = steps.length + waiting.length;
    this.#log.info(
      `draining, generations that still run or wait: ${requests}; a second signal stops at once`,
    );
    await setTimeout(this.#config.drainDelay * 1000);
    await this.#server.drain();
    loop.drain();
    await running;
    await this.#tracing?.close();
    await engine.close();
    await encoder?.close();
    await router?.close();
    context.grammars?.close();
    this.#server.close();
    return 0;
  }

  async #listen(): Promise<number> {
    try {
      return await this.#server.listen();
    } catch (error) {
      throw new CommandError((error as Error).message);
    }
  }

  #followCertificate(stop: AbortSignal): void {
    if (this.#tls === null) return;
    const renew = (files: TlsFiles) => {
      const certificate = this.#server.renewCertificate(files);
      this.#metrics.certificate(certificate);
      return certificate;
    };
    this.#host.onHangup(followCertificate({ files: this.#tls, renew, log: this.#log, stop }));
  }

  /** `known`: the model where it did not have to be fetched. */
  async #load(known: ReadModel | null) {
    const config = this.#config;
    checkFolders(config);
    const roots = new AdapterRoots(adapterRoots(config));
    this.#warnOfThreads();
    this.#progress(0, "resolving the model");
    const { path, name, text } = known ?? withText(await resolveModel(config.model));
    const baseName = config.servedModelName ?? name;
    const encoder = await this.#startEncoder(baseName);
    const onChoice: RouterOptions["onChoice"] = (...told) => this.#metrics.autoChoice(...told);
    const router = await createRouter(config, ENCODER_THREADS, onChoice, this.#log);
    const onProgress = (share: number, what: string) => this.#progress(share, what);
    const output = progressOutput(this.#log, config.logFormat);
    const engine = await loadEngine(config, path, onProgress, false, output);
    for (const key of engine.info.device === "cpu" ? gpuOptions(config) : []) {
      this.#log.warn(`${flagName(key)} has no use: --device auto found no GPU and took the CPU`);
    }
    if (text.reason !== null) this.#log.warn(`prompts must be token ids: ${text.reason}`);

    const metrics = this.#metrics;
    const loop = new EngineLoop({
      engine,
      metrics,
      log: this.#log,
      queue: { requests: config.maxQueue, tokens: config.maxQueueTokens },
      adapterWaitMs: 1000 * config.adapterWait,
      onBroken: (detail) => {
        this.#lifecycle = { ...this.#lifecycle, phase: "failed", detail };
      },
    });
    const sample: RoutingSample = new RoutingSample((handle) => models.infoOf(handle));
    const cards = new CardThread();
    const models = new AdapterRegistry({
      engine,
      holder: loop,
      roots,
      baseName,
      modelPath: path,
      followers: [adapterLog(this.#log), sample, ...(router === null ? [] : [router])],
      readCard: (folder) => cards.read(folder),
      onCardFault: (adapter, { message }) =>
        this.#log.warn(`adapter "${adapter}" is served without its card: ${message}`),
    });
    const folders = await this.#loadAdapters(models);
    checkFallback(config, models);
    await metrics.watch({
      modelName: baseName,
      engine,
      scheduler: loop.scheduler,
      maxLoadedAdapters: config.maxLoadedAdapters,
      adapters: models,
    });
    native().hurryThread();
    this.#tracing = await startTracing(config, metrics, this.#log);
    const adapterWaitMs = 1000 * config.adapterWait;
    const context = apiContext({
      engine,
      generator: sample.follow(loop, engine.info.device),
      sample,
      models,
      text,
      encoder,
      router,
      adapterWaitMs,
    });
    return { engine, loop, context, folders, encoder, router };
  }

  async #startEncoder(baseName: string): Promise<EncoderThread | null> {
    const { encoder: path } = this.#config;
    if (path === null) return null;
    this.#progress(0, `encoder ${path}`);
    const onFault = ({ message }: Error) =>
      this.#log.error(`--encoder ${path} has stopped, restart the server: ${message}`);
    const encoder = await EncoderThread.start(path, ENCODER_THREADS, onFault);
    if (encoder.name !== baseName && encoder.name !== AUTO_MODEL) return encoder;
    throw new CommandError(
      `--encoder ${path}: the name ${encoder.name} is taken; rename its folder`,
    );
  }

  #progress(progress: number, detail: string): void {
    this.#lifecycle = { phase: "loading", progress, detail, context: null };
  }

  #warnOfThreads(): void {
    const { threads } = this.#config;
    const cpus = availableParallelism();
    if (threads <= cpus) return;
    this.#log.warn(`--threads ${threads} on ${cpus} CPUs: they take turns and lose speed`);
  }

  /** One that is named must load; those that a folder holds cost only themselves. */
  async #loadAdapters(registry: AdapterRegistry): Promise<readonly AdapterFolder[]> {
    const onFault = (folder: string, { message }: Error, older: boolean) => {
      const what = older
        ? `the new content of the folder ${folder} is not served, and what it held before still is`
        : `the folder ${folder} is not served`;
      this.#log.warn(`${what}: ${message}`);
    };
    for (const { name, path } of this.#config.adapters) {
      this.#progress(1, `adapter ${name}`);
      const loading = registry.load({ name, path, pin: false, inPlace: false });
      await loading.catch(({ message }: Error) => {
        throw new CommandError(`--adapter ${name}: ${message}`);
      });
    }
    const folders: AdapterFolder[] = [];
    for (const path of adapterFolders(this.#config)) {
      this.#progress(1, `adapters in ${path}`);
      const folder = new AdapterFolder({ path, registry, onFault });
      const found = await folder.open();
      if (found === 0) this.#log.warn(`no adapters in ${path} yet; what is dropped in is served`);
      folders.push(folder);
    }
    return folders;
  }
}

interface ReadModel extends ResolvedModel {
  readonly text: ModelText;
}

function withText(model: ResolvedModel): ReadModel {
  entered("model");
  return { ...model, text: loadText(model.path) };
}

function apiKeys({ apiKey, apiKeyFile }: Config): ApiKey[] {
  const plain = apiKey.map((key, index) => ({
    name: `api-key-${index + 1}`,
    key,
    admin: true,
    limits: {},
  }));
  if (apiKeyFile === null) return plain;
  try {
    return [...plain, ...readApiKeys(apiKeyFile)];
  } catch (error) {
    throw new UsageError(`--api-key-file ${(error as Error).message}`);
  }
}

function tlsFiles({ tlsCert: cert, tlsKey: key }: Config): TlsFiles | null {
  if (cert === null && key === null) return null;
  if (cert === null) throw new UsageError("--tls-key needs --tls-cert");
  if (key === null) throw new UsageError("--tls-cert needs --tls-key");
  return { cert, key };
}

function checkedCertificate(tls: TlsFiles | null): CertificateFacts | null {
  try {
    return tls === null ? null : checkTlsFiles(tls);
  } catch (error) {
    throw new UsageError(`--tls-cert and --tls-key: ${(error as Error).message}`);
  }
}

interface ContextParts {
  readonly engine: NativeEngine;
  readonly generator: Generator;
  readonly sample: RoutingSample;
  readonly models: AdapterRegistry;
  readonly text: ModelText;
  readonly encoder: EncoderThread | null;
  readonly router: Router | null;
  readonly adapterWaitMs: number;
}

function apiContext(parts: ContextParts): ApiContext {
  const { engine, generator, sample, models, text, encoder, router, adapterWaitMs } = parts;
  const { info } = engine;
  const { tokenizer } = text;
  const stopTokens = new Set(info.stopTokens);
  const grammars =
    tokenizer === null
      ? null
      : new GrammarService(() => sharedVocabulary(tokenizer, info.vocab, stopTokens));
  return {
    models,
    adapters: models,
    generator,
    sampledRouting: (handle) => sample.of(handle),
    adapterWaitMs,
    maxModelLen: Math.min(info.maxModelLen, info.kvPages * PAGE_TOKENS),
    vocab: info.vocab,
    width: info.width,
    layers: info.layers,
    stopTokens,
    tokenizer,
    noTokenizerReason: text.reason,
    decoder: () => (tokenizer === null ? noText : new TokenStreamDecoder(tokenizer)),
    chatTemplate: text.template,
    grammars,
    encoder,
    router,
  };
}
