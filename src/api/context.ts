import type { Generator } from "../scheduler/request.js";
import type { ChatTemplate, IncrementalDecoder, Tokenizer } from "../text/text.js";

/** A name that `model` may say: the base or an adapter on it. */
export interface ServedModel {
  readonly name: string;
  readonly adapter: number; // engine handle, 0 = the base
  readonly parent: string | null; // the base's name for adapters
  readonly root: string; // file or folder it was loaded from
  readonly created: number; // seconds
}

/** Looks names up; src/models/adapters.ts implements it. */
export interface ModelRegistry {
  readonly base: ServedModel;
  find(name: string): ServedModel | undefined;
  list(): readonly ServedModel[]; // base first, then adapters by name
}

/** Everything a handler may use once the engine is loaded. */
export interface ApiContext {
  readonly models: ModelRegistry;
  readonly generator: Generator;
  readonly maxModelLen: number;
  readonly vocab: number;
  readonly stopTokens: ReadonlySet<number>;
  /** null: the model has no tokenizer this server can build; prompts are token ids, text is empty. */
  readonly tokenizer: Tokenizer | null;
  readonly noTokenizerReason: string | null; // one line for the client, names the missing pre-type or file
  readonly decoder: () => IncrementalDecoder; // yields "" always when there is no tokenizer
  readonly chatTemplate: ChatTemplate | null;
}

/** Where the server is in its life; main.ts owns the one instance, health endpoints read it. */
export interface Lifecycle {
  readonly phase: "loading" | "ready" | "draining" | "failed";
  readonly progress: number; // 0..1 while loading
  readonly detail: string; // "packing weights", or the failure
  readonly context: ApiContext | null; // set when ready or draining
}
