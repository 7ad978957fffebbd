import type { Mix, Routes, RouteWish } from "./mix.js";
import type { TokenMask } from "./token-mask.js";

/** What the API asks of the scheduler, and what it hears back. Pure types, shared by both sides. */

/** OpenAI's sampling parameters after validation; every field set, neutral where the client was silent. */
export interface SamplingParams {
  readonly temperature: number; // 0 = greedy
  readonly topP: number; // 1 = off
  readonly topK: number; // 0 = off
  readonly minP: number; // 0 = off
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly repetitionPenalty: number; // 1 = off
  readonly seed: bigint; // drawn at random when the client gave none
  readonly logitBias: ReadonlyMap<number, number>;
}

/** The most probable token, always. */
export const GREEDY: SamplingParams = {
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  seed: 0n,
  logitBias: new Map(),
};

/** How a generation went. Times are milliseconds of performance.now(); null: it did not get so far. */
export interface GenerationLife {
  readonly submitted: number;
  readonly admitted: number | null;
  readonly firstToken: number | null;
  readonly lastToken: number; // of no meaning without a first one
  readonly ended: number;
  readonly reason: FinishReason | "error";
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly outputTokens: number;
  readonly maxTokens: number;
}

/** Who asked for it: for the log and the trace. */
export interface Origin {
  readonly requestId: string;
  /** Called once, when it has ended or was cancelled. */
  ended(life: GenerationLife): void;
}

export interface GenerateRequest {
  readonly prompt: readonly number[]; // never empty
  readonly mix: Mix;
  readonly priority: number; // lower goes first; 0 where the client was silent
  readonly sampling: SamplingParams;
  readonly maxTokens: number; // >= 0; prompt + maxTokens fits the window (checked by the API)
  readonly stopTokens: ReadonlySet<number>; // ids that end it and are not part of its text
  readonly ignoreEos: boolean;
  readonly logprobs: number | null; // null = none, else how many alternatives (0..20)
  readonly promptLogprobs: number | null; // for echo
  readonly pooled: boolean; // the mean of the prompt's hidden states is wanted; then maxTokens is 0
  readonly mask: TokenMask | null; // of the grammar that its tokens follow
  readonly routes: RouteWish | null;
  readonly origin?: Origin | undefined; // absent where no client asked
  /** Called on the event loop, in order; must not throw. */
  readonly onEvent: (event: GenerationEvent) => void;
}

export interface TokenLogprob {
  readonly token: number;
  readonly logprob: number;
  readonly top: readonly { readonly token: number; readonly logprob: number }[];
}

export type FinishReason = "stop" | "length" | "abort"; // abort: by `cancel` alone

export type GenerationEvent =
  /** Prompt computed; `logprobs[i]` belongs to prompt token i + 1. Only when promptLogprobs was asked. */
  | { readonly kind: "prompt"; readonly logprobs: readonly TokenLogprob[] }
  /** Prompt computed, when `pooled` was asked. */
  | { readonly kind: "embedding"; readonly vector: Float32Array }
  /** One new token. A stop token is reported only through `finish`. */
  | {
      readonly kind: "token";
      readonly token: number;
      readonly logprob: TokenLogprob | null;
      readonly routes: Routes | null;
    }
  | {
      readonly kind: "finish";
      readonly reason: FinishReason;
      readonly stopToken: number | null; // the id that ended it, when reason is "stop"
      readonly routes: Routes | null; // of that token
      readonly completionTokens: number; // the stop token counts
    }
  /** The generation failed; nothing follows. `code` is a key of the error table (src/errors.ts). */
  | { readonly kind: "error"; readonly code: string; readonly message: string };

/** One running generation. */
export interface Generation {
  /** Prompt tokens that came from the prefix cache; final once the first event has arrived. */
  readonly cachedTokens: number;
  /**
   * Ends it within one step. Idempotent; emits nothing more. The reason is for the metrics: "abort" (the
   * default) for a client that left, "stop" for a stop string that matched.
   */
  cancel(reason?: "stop" | "abort"): void;
}

/** What the API needs of the scheduler's loop (src/scheduler/loop.ts; fakes in tests). */
export interface Generator {
  /**
   * Room in the queue for `requests` with about `tokens` prompt tokens together, to be taken before the
   * prompts are tokenized and given back once they are submitted. Throws ApiError when there is none.
   */
  reserve(requests: number, tokens: number): Reservation;
  /** Throws ApiError when the request can never be computed. */
  submit(request: GenerateRequest): Generation;
}

/** Room in the queue. `release` is idempotent. */
export interface Reservation {
  release(): void;
}
