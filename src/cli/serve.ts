import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { ApiContext, Lifecycle } from "../api/context.js";
import { type AdapterSource, type Config, readConfig, SERVE_OPTIONS } from "../config.js";
import { type NativeEngine, PAGE_TOKENS } from "../engine/native.js";
import { DEFAULT_LIMITS } from "../http/options.js";
import { createServer, type Server } from "../http/server.js";
import { createLogger, type Logger } from "../log.js";
import { Metrics } from "../metrics/metrics.js";
import { AdapterRegistry, findAdapters } from "../models/adapters.js";
import { DEFAULT_MODEL } from "../models/catalog.js";
import { resolveModel } from "../models/resolve.js";
import { EngineLoop } from "../scheduler/loop.js";
import { noText, TokenStreamDecoder } from "../text/detokenizer.js";
import { loadText, type ModelText } from "../text/load-text.js";
import { banner } from "./banner.js";
import { type Command, CommandError, type Terminal } from "./command.js";
import { loadEngine } from "./engine.js";
import { optionHelp } from "./options.js";

const USAGE = `Usage: smore serve [OPTIONS]

Serves a model and its adapters over the OpenAI API.

${optionHelp(SERVE_OPTIONS)}

Every option can come from the environment: SMORE_PORT for --port. Sizes: 512MiB, 4GiB, 25% (of memory).
SIGTERM and SIGINT finish what runs, then exit with 0; a second one ends at once.

Examples:
  smore serve
  smore serve --model ./Llama-3.2-1B --adapter legal=./adapters/legal --port 9000
  smore serve --model model.gguf --adapters-dir ./adapters --adapter-memory 4GiB`;

/** The adapters that come with the default model, seen from dist/src/cli. */
const OWN_ADAPTERS = fileURLToPath(new URL("../../../models/adapters", import.meta.url));
const PACKAGE = fileURLToPath(new URL("../../../package.json", import.meta.url));

export const command: Command = {
  usage: USAGE,
  async run(args, terminal) {
    const config = readConfig(args, terminal.environment);
    if (config === null) {
      terminal.print(USAGE);
      return 0;
    }
    return await new Service(config, terminal).run();
  },
};

/** One server from start to end; the owner of its lifecycle. */
class Service {
  readonly #config: Config;
  readonly #terminal: Terminal;
  readonly #log: Logger;
  readonly #server: Server;
  #lifecycle: Lifecycle = { phase: "loading", progress: 0, detail: "", context: null };
  #metrics: Metrics | null = null;

  constructor(config: Config, terminal: Terminal) {
    this.#config = config;
    this.#terminal = terminal;
    this.#log = createLogger(config.logLevel);
    const { version } = JSON.parse(readFileSync(PACKAGE, "utf8")) as { version: string };
    this.#server = createServer({
      host: config.host,
      port: config.port,
      corsOrigin: config.corsOrigin,
      apiKeys: config.apiKey,
      limits: DEFAULT_LIMITS,
      lifecycle: () => this.#lifecycle,
      held: (callback, seconds) => this.#metrics?.held(callback, seconds),
      metricsText: () => this.#metrics?.text() ?? "",
      version,
      log: this.#log,
    });
  }

  /** Listens at once, loads, serves until told to stop, and finishes what runs. */
  async run(): Promise<number> {
    const stop = this.#terminal.drainSignal();
    const stopped = new Promise<void>((resolve) => stop.addEventListener("abort", () => resolve()));
    const started = performance.now();
    const port = await this.#listen();
    const loading = this.#load();
    await Promise.race([loading, stopped]);
    if (stop.aborted) {
      this.#server.close();
      return 0;
    }
    const { engine, loop, context } = await loading;
    const running = loop.run();
    this.#lifecycle = { phase: "ready", progress: 1, detail: "", context };
    const seconds = (performance.now() - started) / 1000;
    const { host } = this.#config;
    this.#terminal.print(banner({ host, port, seconds, context, info: engine.info }));

    await Promise.race([running, stopped]);
    this.#lifecycle = { ...this.#lifecycle, phase: "draining" };
    this.#log.info("draining");
    await setTimeout(this.#config.drainDelay * 1000);
    await this.#server.drain();
    loop.drain();
    await running;
    await engine.close();
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

  async #load() {
    const config = this.#config;
    this.#progress(0, "resolving the model");
    const { path, name } = await resolveModel(config.model);
    const baseName = config.servedModelName ?? name;
    const text = loadText(path);
    const engine = await loadEngine(config, path, (share, what) => this.#progress(share, what));
    if (text.reason !== null) this.#log.warn(`prompts must be token ids: ${text.reason}`);

    const models = new AdapterRegistry(engine, baseName, path);
    await this.#registerAdapters(models);
    const metrics = new Metrics(baseName);
    const log = this.#log;
    const loop = new EngineLoop({ engine, metrics, log, maxQueue: config.maxQueue });
    await metrics.watch({
      engine,
      scheduler: loop.scheduler,
      maxLoadedAdapters: config.maxLoadedAdapters,
      adapters: () => models.adapters(),
    });
    this.#metrics = metrics;
    return { engine, loop, context: apiContext(engine, loop, models, text) };
  }

  #progress(progress: number, detail: string): void {
    this.#lifecycle = { phase: "loading", progress, detail, context: null };
  }

  /** An adapter that does not load costs itself alone. */
  async #registerAdapters(models: AdapterRegistry): Promise<void> {
    for (const source of adapterSources(this.#config)) {
      this.#progress(1, `adapter ${source.name}`);
      try {
        const { info } = await models.register(source);
        this.#log.info({ adapter: source.name, ...info }, "adapter registered");
      } catch (error) {
        this.#terminal.complain(`smore: adapter "${source.name}": ${(error as Error).message}`);
      }
    }
  }
}

function adapterSources({ adapters, adaptersDir, model }: Config): AdapterSource[] {
  const folder = adaptersDir ?? (model === DEFAULT_MODEL ? OWN_ADAPTERS : null);
  const found = folder === null ? [] : findAdapters(folder);
  const named = new Set(adapters.map(({ name }) => name));
  return [...adapters, ...found.filter(({ name }) => !named.has(name))];
}

function apiContext(
  { info }: NativeEngine,
  generator: EngineLoop,
  models: AdapterRegistry,
  text: ModelText,
): ApiContext {
  const { tokenizer } = text;
  return {
    models,
    generator,
    maxModelLen: Math.min(info.maxModelLen, info.kvPages * PAGE_TOKENS),
    vocab: info.vocab,
    stopTokens: new Set(info.stopTokens),
    tokenizer,
    noTokenizerReason: text.reason,
    decoder: () => (tokenizer === null ? noText : new TokenStreamDecoder(tokenizer)),
    chatTemplate: text.template,
  };
}
