import { availableParallelism } from "node:os";
import {
  budget,
  choice,
  decimal,
  derivedBudget,
  integer,
  label,
  list,
  origin,
  parseOptions,
  size,
  text,
  toggle,
  UsageError,
  type Values,
} from "./cli/options.js";
import { ACTIVATIONS, GPU_PRODUCTS } from "./engine/native.js";
import { LOG_FORMATS, LOG_LEVELS } from "./log.js";
import { DEFAULT_MODEL } from "./models/catalog.js";

/** Options of everything that loads an engine. */
export const ENGINE_OPTIONS = {
  model: text({
    initial: DEFAULT_MODEL as string,
    placeholder: "MODEL",
    help: "a .gguf file, a Hugging Face folder, a catalogue name or hf:ORG/REPO/FILE",
  }),
  maxModelLen: integer({
    initial: null,
    min: 1,
    max: 1 << 24,
    help: "longest prompt plus completion, in tokens",
    shown: "the model's own, as far as the KV memory goes",
  }),
  device: text({
    initial: "cpu" as string,
    placeholder: "DEVICE",
    help: "where the model is computed: cpu, cuda:0 and so on, or auto, the first GPU if there is one",
  }),
  threads: integer({
    initial: availableParallelism(),
    min: 1,
    max: 1024,
    help: "threads of the engine",
    shown: "one per CPU",
  }),
  maxBatch: integer({ initial: 32, min: 1, max: 1024, help: "sequences in one step" }),
  maxBatchTokens: integer({
    initial: 512,
    min: 1,
    max: 65_536,
    help: "tokens in one step, at least --max-batch",
  }),
  kvMemory: budget("10%", "memory for keys and values"),
  adapterMemory: budget("10%", "memory for adapters"),
  gpuAdapterMemory: derivedBudget("as --adapter-memory", "memory of a GPU for adapters"),
  gpuProducts: choice(GPU_PRODUCTS, {
    initial: "invariant",
    help: "what multiplies more than 256 rows on a GPU: kernels by which a row has the same bits in every batch, or NVIDIA's cuBLASLt for speed",
  }),
  cublaslt: text({
    initial: null,
    placeholder: "PATH",
    help: "the file libcublasLt.so.13 for --gpu-products cublaslt",
    shown: "where the loader finds it",
  }),
  maxLoadedAdapters: integer({
    initial: 16,
    min: 1,
    max: 4096,
    help: "adapters in memory at once; more can be served in turn",
  }),
  activations: choice(ACTIVATIONS, {
    initial: "auto",
    help: "where weights are quantized: 8 bits, and a second digit (15 bits) in blocks of large values (auto; kernel path ...-digits); 8 bits everywhere (int8: faster, less exact); or all in float32",
  }),
  adapterDtype: choice(["stored", "bf16", "int8"], {
    initial: "stored",
    help: "type of experts and W in memory; int8 has a scale for each output",
  }),
  quantize: choice(["none", "q8_0", "q4_0"], {
    initial: "none",
    help: "quantize the base weights at load",
  }),
  kernelPath: text({
    initial: null,
    placeholder: "NAME",
    help: "force a kernel path; a wrong name lists those of this machine",
    shown: "the machine's best",
  }),
} as const;

/** Every option of `smore serve`. */
export const SERVE_OPTIONS = {
  ...ENGINE_OPTIONS,
  servedModelName: label({
    initial: null,
    placeholder: "NAME",
    help: "what requests call the base model",
    shown: "the catalogue name, or the file's or folder's",
  }),
  adapter: list({ placeholder: "NAME=PATH", help: "serve an adapter folder; repeatable" }),
  adaptersDir: text({
    initial: null,
    placeholder: "PATH",
    help: "serve every adapter in PATH and follow what is dropped in, replaced and removed",
    shown: "none",
  }),
  noBundledAdapters: toggle("serve the default model without the adapters that come with it"),
  adapterRoot: list({
    placeholder: "PATH",
    help: "clients may load adapters from below PATH; repeatable",
    shown: "the folders that hold the adapters above",
  }),
  adapterWait: integer({
    initial: 30,
    min: 0,
    max: 3600,
    placeholder: "SECONDS",
    help: "how long a request may wait for its adapter to be loaded",
  }),
  encoder: text({
    initial: null,
    placeholder: "PATH",
    help: "serve embeddings by an ONNX sentence encoder: a .onnx file or its folder",
    shown: "none",
  }),
  routerEncoder: text({
    initial: null,
    placeholder: "PATH",
    help: 'the ONNX sentence encoder that finds the adapter for `model: "auto"`: a .onnx file or its folder',
    shown: "the one that comes with the server",
  }),
  routerThreshold: decimal({
    initial: null,
    min: 0,
    max: 1,
    help: "how near to an adapter's examples (cosine) a request must be for it",
    shown: "the encoder's own",
  }),
  routerFallback: text({
    initial: null,
    placeholder: "NAME",
    help: "the adapter that answers what is near to none",
    shown: "the base",
  }),
  noRouter: toggle('do not serve `model: "auto"`'),
  host: text({ initial: "127.0.0.1", placeholder: "ADDRESS", help: "address to listen on" }),
  port: integer({
    initial: 8080,
    min: 0,
    max: 65_535,
    help: "port to listen on; 0 = any free one",
  }),
  tlsCert: text({
    initial: null,
    placeholder: "PATH",
    help: "serve HTTPS and WSS by this certificate (PEM, with its chain); renewed when the file changes",
    shown: "none",
  }),
  tlsKey: text({
    initial: null,
    placeholder: "PATH",
    help: "the key of --tls-cert (PEM, without a passphrase)",
    shown: "none",
  }),
  maxQueue: integer({
    initial: 256,
    min: 0,
    max: 1_000_000,
    help: "requests that may wait; more are refused with 503",
  }),
  maxQueueTokens: integer({
    initial: 262_144,
    min: 1,
    max: 1 << 30,
    help: "tokens of prompts that may wait; what comes beyond is refused with 503",
  }),
  maxBodyBytes: size("8MiB", "largest body of a request, and message of a WebSocket"),
  requestTimeout: integer({
    initial: 0,
    min: 0,
    max: 86_400,
    placeholder: "SECONDS",
    help: "longest time of a generation; 0 = as long as it takes",
  }),
  corsOrigin: origin("web pages of this origin may call the API; * = any"),
  apiKey: list({ placeholder: "KEY", help: "require this key; repeatable" }),
  apiKeyFile: text({
    initial: null,
    placeholder: "PATH",
    help: "require one of the named keys in PATH, each with its own limits",
    shown: "none",
  }),
  noPlayground: toggle("serve no page to people at /"),
  drainDelay: integer({
    initial: 0,
    min: 0,
    max: 3600,
    placeholder: "SECONDS",
    help: "on SIGTERM, keep accepting for so long while /readyz says 503",
  }),
  logLevel: choice(LOG_LEVELS, { initial: "info", help: "least severe lines to log" }),
  logFormat: choice(LOG_FORMATS, {
    initial: "auto",
    help: "a JSON object a line, or sentences; auto: sentences at a terminal",
  }),
  otlpEndpoint: text({
    initial: null,
    placeholder: "URL",
    help: "send OpenTelemetry traces to this collector by OTLP over HTTP (JSON), at URL/v1/traces",
    shown: "OTEL_EXPORTER_OTLP_ENDPOINT, else no traces",
  }),
  otlpSample: integer({
    initial: 100,
    min: 0,
    max: 100,
    placeholder: "PERCENT",
    help: "share of the traces that begin here; callers decide about theirs",
  }),
  otlpSteps: toggle("record the engine's steps, too: many spans"),
} as const;

export interface AdapterSource {
  readonly name: string;
  readonly path: string;
}

export interface Config extends Omit<Values<typeof SERVE_OPTIONS>, "adapter"> {
  readonly adapters: readonly AdapterSource[];
}

export type EngineConfig = Values<typeof ENGINE_OPTIONS>;

/** The frozen configuration, or null when help was asked for. Throws UsageError. */
export function readConfig(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Config | null {
  const { values, operands, help, source } = parseOptions(SERVE_OPTIONS, args, environment);
  if (help) return null;
  if (operands[0] !== undefined) throw new UsageError(`unexpected argument "${operands[0]}"`);
  checkBatch(values);
  checkDevice(values, source);
  if (values.servedModelName === AUTO_MODEL) {
    throw new UsageError(`${source("servedModelName")}: "${AUTO_MODEL}" asks the server to choose`);
  }
  if (values.noRouter) {
    const idle = (["routerEncoder", "routerThreshold", "routerFallback"] as const).find(
      (key) => values[key] !== null,
    );
    if (idle !== undefined) throw new UsageError(`${source(idle)} does not go with --no-router`);
  }
  const { adapter, ...rest } = values;
  const adapters = parseAdapters(adapter, source("adapter"));
  const otlpEndpoint = collector(values.otlpEndpoint, source("otlpEndpoint"), environment);
  return Object.freeze({ ...rest, adapters, otlpEndpoint });
}

/** Where traces go: `given`, else what the variable of every OpenTelemetry program says. */
function collector(
  given: string | null,
  option: string,
  { [OTLP_VARIABLE]: everywhere }: Readonly<Record<string, string | undefined>>,
): string | null {
  const url = given ?? (everywhere === "" ? undefined : everywhere);
  if (url === undefined) return null;
  if (URL.canParse(url) && /^https?:/.test(url)) return url.replace(/\/+$/, "");
  const source = given === null ? OTLP_VARIABLE : option;
  throw new UsageError(`${source} must be the http or https URL of a collector, not "${url}"`);
}

const OTLP_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT";

const GPU_OPTIONS = ["gpuAdapterMemory", "gpuProducts", "cublaslt"] as const;

/** Which options that only a GPU keeps to were given. */
export function gpuOptions(config: EngineConfig): (typeof GPU_OPTIONS)[number][] {
  return GPU_OPTIONS.filter((key) => config[key] !== ENGINE_OPTIONS[key].initial);
}

/**
 * Refuses what is of a GPU where there is none: an option that nothing keeps to is a mistake.
 * `source`: what gave an option, as the user wrote it.
 */
export function checkDevice(
  config: EngineConfig,
  source: (key: (typeof GPU_OPTIONS)[number]) => string,
): void {
  const [idle] = config.device === "cpu" ? gpuOptions(config) : [];
  if (idle !== undefined) {
    throw new UsageError(`${source(idle)} is of a GPU and does not go with --device cpu`);
  }
  if (config.cublaslt !== null && config.gpuProducts !== "cublaslt") {
    throw new UsageError(`${source("cublaslt")} does not go without --gpu-products cublaslt`);
  }
}

export function checkBatch({ maxBatch, maxBatchTokens }: EngineConfig): void {
  if (maxBatchTokens >= maxBatch) return;
  throw new UsageError(
    `--max-batch-tokens must be at least --max-batch (${maxBatch}), not "${maxBatchTokens}"`,
  );
}

/** `option`: what the user wrote, a flag or a variable. */
function parseAdapters(given: readonly string[], option: string): AdapterSource[] {
  const adapters = given.map((entry) => {
    const at = entry.indexOf("=");
    if (at < 1 || at === entry.length - 1) {
      throw new UsageError(`${option} must be NAME=PATH, not "${entry}"`);
    }
    const name = entry.slice(0, at);
    const fault = adapterNameFault(name);
    if (fault !== null) throw new UsageError(`${option} "${name}": the name ${fault}`);
    return { name, path: entry.slice(at + 1) };
  });
  const names = adapters.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new UsageError(`${option} "${twice}" is given twice`);
  return adapters;
}

/** What requests call the model where the server is to choose one. */
export const AUTO_MODEL = "auto";

/** Why a name cannot be an adapter's: it stands in URLs and in comma lists that routers read. */
export function adapterNameFault(name: string): string | null {
  if (name === AUTO_MODEL) return "is what asks the server to choose an adapter";
  if (name === "" || name.length > 128) return "must have 1 to 128 characters";
  if (/[,/\\]|\.\.|\p{Cc}|\s/u.test(name)) {
    return 'must not hold commas, slashes, "..", blanks or control characters';
  }
  return null;
}
