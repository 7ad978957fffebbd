import type { SentenceEncoder } from "../encoders/encoder.js";
import type { NativeAdapterInfo, NativeAdapterPlace } from "../engine/native.js";
import type { GrammarService } from "../grammar/service.js";
import type { SampledRouting } from "../metrics/routing-sample.js";
import type { AdapterCard } from "../models/card.js";
import type { Generator } from "../scheduler/request.js";
import type { ChatTemplate, IncrementalDecoder, Tokenizer } from "../text/text.js";

/** A name that `model` may say: the base or an adapter on it. */
export interface ServedModel {
  readonly name: string;
  readonly adapter: number; // engine handle, 0 = the base
  readonly parent: string | null; // the base's name for adapters
  readonly root: string; // file or folder it was loaded from
  readonly created: number; // seconds
  readonly info: NativeAdapterInfo | null; // null for the base
  readonly card: AdapterCard | null; // null for the base
}

/** Looks names up; src/models/adapters.ts implements it. */
export interface ModelRegistry {
  readonly base: ServedModel;
  find(name: string): ServedModel | undefined;
  list(): readonly ServedModel[]; // base first, then adapters by name
}

/** An adapter that requests may name. A folder that is loaded again gets a new handle: its generation. */
export interface ServedAdapter extends ServedModel {
  readonly info: NativeAdapterInfo;
  readonly pinned: boolean; // stays in memory whether it is used or not
  readonly card: AdapterCard;
}

/** Which model answers a request that left that to the server. */
export interface RouterChoice {
  readonly name: string;
  /** The adapter with the nearest example; null where there was none, or nothing to compare. */
  readonly nearest: string | null;
  /** How near: the cosine, 0 where there is no `nearest`. */
  readonly score: number;
}

/** Chooses adapters by what requests say; src/router/router.ts implements it. */
export interface AdapterRouter {
  /** Whether there is an adapter that can be chosen. */
  readonly ready: boolean;
  /** Whether its encoder has failed: nothing can be chosen any more. */
  readonly broken: boolean;
  /** File of its encoder. */
  readonly root: string;
  /**
   * `texts`: of one request; the one that is nearest to an example counts. `gone`: aborted when its client is. Rejects with
   * ApiError, ModelError or the signal's reason.
   */
  choose(
    texts: readonly string[],
    models: ModelRegistry,
    gone?: AbortSignal,
  ): Promise<RouterChoice>;
}

export interface AdapterRouting {
  readonly total: readonly (readonly number[])[]; // [level][expert]
  /** Of each linear of `info.linears`, [level][expert]; empty where no linear is counted by itself. */
  readonly linears: readonly (readonly number[])[][];
}

/** A folder that is being read and checked. */
export interface AdapterLoad {
  readonly name: string;
  readonly root: string;
  readonly progress: number; // 0..1
  /** Settles when the load has ended, well or not. */
  readonly ended: Promise<void>;
}

export interface AdapterOrder {
  readonly name: string;
  readonly path: string;
  readonly pin: boolean;
  /** Take the place of the adapter that has the name; its running requests go on with the old one. */
  readonly inPlace: boolean;
}

/** Changes which adapters are served; src/models/adapters.ts implements it. */
export interface AdapterControl {
  adapters(): readonly ServedAdapter[]; // by name
  loads(): readonly AdapterLoad[];
  /** The load in progress of a name that is not served yet. */
  loading(name: string): AdapterLoad | undefined;
  place(adapter: ServedAdapter): NativeAdapterPlace;
  /** Tokens routed to each expert since it was loaded, levels from the leaves up. */
  routing(adapter: ServedAdapter): AdapterRouting;
  /** How many generations go through it now. */
  running(adapter: ServedAdapter): number;
  /** A path that a client named, resolved. Throws ApiError unless it is below an allowed root. */
  allowedPath(path: string): Promise<string>;
  /** Throws ApiError, or the engine's error about the folder. */
  load(order: AdapterOrder): Promise<ServedAdapter>;
  /** Throws ApiError when there is no such adapter. */
  unload(name: string): Promise<void>;
}

/** Everything a handler may use once the engine is loaded. */
export interface ApiContext {
  readonly models: ModelRegistry;
  readonly adapters: AdapterControl;
  readonly generator: Generator;
  /** Where the tokens of some of an adapter's generations went, by its handle. */
  sampledRouting(handle: number): SampledRouting | null;
  /** How long a request may wait for its adapter to be loaded. */
  readonly adapterWaitMs: number;
  readonly maxModelLen: number;
  readonly vocab: number;
  readonly layers: number; // of the base
  /** Of the model's hidden states: numbers in an embedding. */
  readonly width: number;
  readonly stopTokens: ReadonlySet<number>;
  /** null: the model has no tokenizer this server can build; prompts are token ids, text is empty. */
  readonly tokenizer: Tokenizer | null;
  readonly noTokenizerReason: string | null; // one line for the client, names the missing pre-type or file
  readonly decoder: () => IncrementalDecoder; // yields "" always when there is no tokenizer
  readonly chatTemplate: ChatTemplate | null;
  readonly grammars: GrammarService | null; // null as the tokenizer is
  /** Serves /v1/embeddings under its name; null where none is configured. */
  readonly encoder: SentenceEncoder | null;
  /** Serves `model: "auto"`; null where it is switched off. */
  readonly router: AdapterRouter | null;
}

/** Where the server is in its life; main.ts owns the one instance, health endpoints read it. */
export interface Lifecycle {
  readonly phase: "loading" | "ready" | "draining" | "failed";
  readonly progress: number; // 0..1 while loading
  readonly detail: string; // "packing weights", or the failure
  readonly context: ApiContext | null; // set when ready or draining
}
