/**
 * The whole native module as types: the border between TypeScript and C++ (addon/binding). A step is
 * the arrays of a StepBatch and nothing else; addon/engine/step.h is the other half of this file.
 */

/** Bumped together with kAbiVersion in addon/engine/step.h. */
export const ABI_VERSION = 6;

export const MAX_TOP_LOGPROBS = 20;

/** Adapters that one sequence goes through at most. */
export const MAX_ADAPTERS = 8;

/** Scales of deltas lie between this and its negative. */
export const MAX_ADAPTER_SCALE = 16;

export const MAX_ROUTER_TEMPERATURE = 100;

/** Tokens that one KV page holds (kPageTokens in addon/backends/backend.h). */
export const PAGE_TOKENS = 16;

/** Bits of a sequence's flags in a step (SequenceFlag in step.h). */
export const SequenceFlag = {
  sample: 1,
  tokenFromSlot: 2,
  restoreHistory: 4,
  logprobs: 8,
  promptLogprobs: 16,
  penalties: 32,
  mask: 64,
  pool: 128,
  routes: 256,
} as const;

/** SequenceStatus in step.h. */
export const SequenceStatus = { ok: 0, notFinite: 1, adapterFailed: 2 } as const;

/** Order of the counters that `stats` fills (StatIndex in step.h). */
export const STATS = [
  "steps",
  "rows",
  "sampledRows",
  "basePasses",
  "adapterRows",
  "stepSeconds",
  "expertHits",
  "expertMisses",
  "expertLoads",
  "expertEvictions",
  "expertLoadBytes",
  "expertLoadSeconds",
  "residentBytes",
  "residentPages",
  "residentAdapters",
  "adapterBudgetBytes",
  "weightBytes",
  "kvBytes",
  "deviceHits",
  "deviceMisses",
  "deviceLoads",
  "deviceEvictions",
  "deviceLoadBytes",
  "deviceLoadSeconds",
  "deviceBytes",
  "devicePages",
  "deviceAdapters",
  "deviceBudgetBytes",
  "graphLaunches",
  "graphCaptures",
  "graphUpdates",
  "graphDirect",
] as const;
export type StatName = (typeof STATS)[number];

/** Stages of a step in the order of the figures that `profile` fills (Stage in profile.h). */
export const PROFILE_STAGES = [
  "embed",
  "norm",
  "qkv",
  "rotary",
  "attention",
  "o",
  "gate_up",
  "down",
  "add",
  "output",
  "adapters",
  "sampling",
] as const;
export type ProfileStage = (typeof PROFILE_STAGES)[number];

/** Sums over all steps, for each stage (StageFigure in profile.h). */
export const PROFILE_FIGURES = ["seconds", "bytes", "operations"] as const;

/** What the machine can do at most in a second. */
export interface Peaks {
  readonly readBytes: number;
  readonly int8Operations: number;
  readonly floatOperations: number;
}

/** Sizes of a batch's arrays (StepLimits in step.h). */
export interface StepLimits {
  readonly rows: number;
  readonly sequences: number;
  readonly blocks: number;
  readonly history: number;
  readonly biases: number;
  readonly bans: number;
  readonly routes: number;
  readonly width: number;
  readonly maskWords: number;
  readonly layerWords: number;
}

/** What activations are where they meet quantised weights (ActivationType in backend.h). */
export const ACTIVATIONS = ["auto", "int8", "fp32"] as const;
export type Activations = (typeof ACTIVATIONS)[number];

/** What multiplies steps of many rows on a GPU (GpuProducts in backend.h). */
export const GPU_PRODUCTS = ["invariant", "cublaslt"] as const;
export type GpuProducts = (typeof GPU_PRODUCTS)[number];

/** Validated numbers and paths; the engine takes no other options. Budgets are bytes. */
export interface NativeConfig {
  readonly modelPath: string;
  readonly device: string; // "cpu", "cuda:0", ... or "auto"
  readonly threads: number;
  readonly maxModelLen: number; // 0 = the model's own, as far as the KV memory goes
  readonly maxBatch: number; // sequences in a step
  readonly maxBatchTokens: number; // rows in a step
  readonly kvMemory: number;
  readonly adapterMemory: number;
  readonly gpuAdapterMemory: number; // of a device that has memory of its own
  readonly gpuProducts: GpuProducts; // where it is a GPU
  readonly cublaslt: string; // the file of the library that "cublaslt" asks for; "" = where the loader finds it
  readonly maxLoadedAdapters: number;
  readonly activations: Activations;
  readonly adapterDtype: "stored" | "bf16" | "int8"; // of experts
  readonly quantize: "none" | "q8_0" | "q4_0";
  readonly profile: boolean; // measure what each stage of the steps takes
  readonly kernelPath: string; // "" = the machine's best
}

export interface EngineInfo {
  readonly family: string;
  readonly layers: number;
  readonly width: number;
  readonly vocab: number;
  readonly maxModelLen: number; // longest sequence it serves
  readonly stopTokens: readonly number[];
  readonly device: string; // "cpu" or "cuda:0", ...
  readonly kernelPath: string; // "avx512vnni-digits", "cuda-sm90-bf16", ...
  readonly threads: number;
  readonly kvPages: number;
  readonly pageBytes: number;
  readonly parameters: number;
  readonly weightBytes: number;
  readonly limits: StepLimits;
  readonly slots: number; // sequence slots on the engine's side: 2 x limits.sequences
}

export interface NativeAdapterInfo {
  readonly handle: number; // >= 1, never reused
  readonly kind: string; // "smore", "lora"
  readonly parameters: number;
  readonly bytes: number;
  readonly trunkBytes: number; // of them, what every token needs
  readonly sites: number;
  readonly pages: number;
  readonly levels: number;
  readonly tree: readonly TreeLevel[]; // leaves first, the same on every linear; empty = no routers
  readonly linears: readonly AdaptedLinear[]; // in the order of the graph
}

/** A level of an adapter's trees: how many experts it has, how many each of its nodes chooses. */
export interface TreeLevel {
  readonly experts: number;
  readonly active: number;
}

export interface AdaptedLinear {
  readonly layer: number;
  readonly name: string; // "gate_proj"
}

/** Where an adapter is and how its pages were used. */
export interface NativeAdapterPlace {
  readonly resident: boolean; // what every token needs of it is in memory
  readonly residentBytes: number;
  readonly hits: number; // expert pages that steps found in memory
  readonly misses: number; // expert pages that steps waited for
  readonly fault: string; // why a page could last not be loaded, with its file; "" = never happened
}

/** The arrays of one step, in the order and with the types of StepInput and StepOutput in step.h. */
export interface StepArrays {
  readonly counts: Int32Array; // rows, sequences
  readonly tokens: Int32Array;
  readonly nextTokens: Int32Array;
  readonly slot: Int32Array;
  readonly flags: Uint32Array;
  readonly rowStart: Int32Array;
  readonly context: Int32Array;
  readonly blockStart: Int32Array;
  readonly blocks: Int32Array;
  readonly historyStart: Int32Array;
  readonly historyPrompt: Int32Array;
  readonly history: Int32Array;
  readonly biasStart: Int32Array;
  readonly biasToken: Int32Array;
  readonly biasValue: Float32Array;
  readonly sampleIndex: Int32Array;
  readonly seed: Uint32Array; // 2 per sequence: low, high
  readonly temperature: Float32Array;
  readonly topP: Float32Array;
  readonly minP: Float32Array;
  readonly topK: Int32Array;
  readonly presence: Float32Array;
  readonly frequency: Float32Array;
  readonly repetition: Float32Array;
  readonly topLogprobs: Int32Array;
  readonly mask: Uint32Array; // limits.maskWords per sequence, one bit per token
  readonly routeStart: Int32Array;
  readonly routeLayers: Uint32Array; // limits.layerWords per sequence, one bit per layer
  readonly adapterStart: Int32Array;
  readonly adapter: Int32Array; // each once within a sequence
  readonly adapterScale: Float32Array;
  readonly routerTemperature: Float32Array;
  readonly banStart: Int32Array;
  readonly banLevel: Int32Array;
  readonly banExpert: Int32Array;
  // outputs
  readonly status: Int32Array;
  readonly sampled: Int32Array;
  readonly sampledLogprob: Float32Array;
  readonly topTokens: Int32Array; // MAX_TOP_LOGPROBS per sequence
  readonly topLogprobValues: Float32Array;
  readonly rowLogprob: Float32Array;
  readonly rowTopTokens: Int32Array; // MAX_TOP_LOGPROBS per row
  readonly rowTopLogprobs: Float32Array;
  readonly pooled: Float32Array; // the model's width per sequence
  readonly routeExpert: Int32Array;
  readonly routeScore: Float32Array;
}

export interface VerifyResult {
  readonly file: string;
  readonly passed: boolean;
  readonly detail: string; // worst relative error, or the first tensor that differs
}

export interface NativeEngine {
  readonly info: EngineInfo;
  /** [sync] Twice at most; the engine keeps pointers into the arrays. Returns the batch's number. */
  createBatch(arrays: StepArrays): number;
  /**
   * [async] Runs the batch; one in flight and one queued. Resolves to when it was done, in milliseconds of
   * the clock of process.hrtime. Rejects when the step itself failed.
   */
  step(batch: number): Promise<number>;
  /**
   * [async] Maps, validates and registers a folder in PEFT layout. `progress[0]` becomes the share of it
   * that has been checked.
   */
  loadAdapter(folder: string, progress?: Float64Array): Promise<NativeAdapterInfo>;
  /** [async] Makes it resident and pins it; false = no room while the pinned ones run. */
  acquireAdapter(handle: number): Promise<boolean>;
  /** [sync] Ends one pin. */
  releaseAdapter(handle: number): void;
  /** [sync] Forgets it once the last pin is gone. */
  unloadAdapter(handle: number): void;
  /** [sync] Throws when the adapter is not loaded. */
  adapterPlace(handle: number): NativeAdapterPlace;
  /** [sync] Fills the counters in the order of STATS. */
  stats(target: Float64Array): void;
  /** [sync] Fills PROFILE_FIGURES for each of PROFILE_STAGES; throws when the engine has no profile. */
  profile(target: Float64Array): void;
  /** [sync] Tokens routed to each expert, [level][expert], summed over layers and linears. */
  routing(handle: number): number[][];
  /** [sync] The same of each linear, in the order of NativeAdapterInfo's; empty where no linear is counted by itself. */
  routingByLinear(handle: number): number[][][];
  /** [async] Waits for the step in flight, then frees everything. */
  close(): Promise<void>;
}

/** Errors of the native side carry `code`, one of addon/core/error.cc's names. */
export interface NativeModule {
  abiVersion(): number;
  /** Kernel paths this machine can run, best first. */
  cpuPaths(): string[];
  /** [sync] GPUs that this build can use here: "cuda:0", "cuda:1" and so on. */
  cudaDevices(): string[];
  /** [sync] Bytes of memory of the device that a name stands for; null for the CPU, which uses the host's. */
  deviceMemory(device: string, kernelPath: string): number | null;
  /** [async] `onProgress(done, total, what)`: bytes packed so far. */
  loadEngine(
    config: NativeConfig,
    onProgress: (done: number, total: number, what: string) => void,
  ): Promise<NativeEngine>;
  /** [async] Measures for about a second, by the instructions of the named path ("" = the best). */
  measurePeaks(kernelPath: string, threads: number): Promise<Peaks>;
  /** [async] One single-layer golden file through the backend of the named path. */
  verifyLayer(file: string, kernelPath: string, activations: Activations): Promise<VerifyResult>;
  /** [async] What a model file, model folder or adapter folder holds, as JSON text. */
  inspect(path: string): Promise<string>;
  /** [sync] CPU time of the calling thread. */
  threadCpuSeconds(): number;
  /** [sync] The calling thread computes briefly, and is to get a processor soon when it wants one. */
  hurryThread(): void;
  /** [async] Gives free pages of the C library's heap back to the system. Whether there were any. */
  trimHeap(): Promise<boolean>;
}
