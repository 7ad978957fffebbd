import { randomBytes } from "node:crypto";
import type { CompiledGrammar } from "../grammar/service.js";
import type { GenerateRequest, SamplingParams } from "../scheduler/request.js";
import type { TokenMask } from "../scheduler/token-mask.js";
import type { ToolFormat } from "../text/tool-format.js";
import type { ApiContext, RouterChoice, ServedModel } from "./context.js";
import type { Echo } from "./echo.js";
import type { Mixing } from "./mixing.js";

/** A validated request of either endpoint. Everything that follows is the same for both. */
export interface Job {
  readonly model: ServedModel;
  /** Why it is that model, where the client left it to the server. */
  readonly auto: RouterChoice | null;
  readonly mixing: Mixing;
  readonly prompts: readonly Prompt[];
  /** Choices per prompt in the answer; choice i of prompt p has index p * n + i. */
  readonly n: number;
  /** Generations per prompt, at least n; where they are more, the likeliest are answered. */
  readonly candidates: number;
  readonly sampling: Omit<SamplingParams, "seed">;
  readonly seed: bigint | null;
  readonly priority: number;
  readonly stop: readonly string[];
  readonly ignoreEos: boolean;
  readonly logprobs: number | null; // how many alternatives
  readonly grammar: CompiledGrammar | null; // that every answer follows
  readonly toolFormat: ToolFormat | null; // of calls in the answers; null = they are text
  readonly returnTokenIds: boolean;
  readonly tokensAsIds: boolean; // logprobs name tokens `token_id:17`
  readonly stream: boolean;
  readonly includeUsage: boolean;
}

export interface Prompt {
  readonly ids: readonly number[];
  readonly echo: Echo | null; // where it is to be repeated
  readonly maxTokens: number;
}

/**
 * Takes room in the queue for so many generations of so many prompt tokens together. To be called when
 * all else is validated and before a prompt is tokenized. Throws ApiError.
 */
export type Admit = (generations: number, tokens: number) => void;

/** Tokens of a text before it is tokenized, near enough for the queue. */
export function estimateTokens(text: string): number {
  return Math.ceil(text.length / 4);
}

/** What candidate `index` of a job asks of the scheduler. Its answer does not depend on the other prompts. */
export function generateRequest(
  job: Job,
  index: number,
  context: ApiContext,
  mask: TokenMask | null,
  onEvent: GenerateRequest["onEvent"],
): GenerateRequest {
  const prompt = job.prompts[Math.floor(index / job.candidates)]!;
  const ranked = job.candidates > job.n;
  return {
    prompt: prompt.ids,
    mix: job.mixing.mix,
    priority: job.priority,
    sampling: { ...job.sampling, seed: choiceSeed(job, index % job.candidates) },
    maxTokens: prompt.maxTokens,
    stopTokens: context.stopTokens,
    ignoreEos: job.ignoreEos,
    logprobs: job.logprobs ?? (ranked ? 0 : null),
    promptLogprobs: prompt.echo === null ? null : job.logprobs,
    pooled: false,
    mask,
    routes: job.mixing.routes,
    onEvent,
  };
}

function choiceSeed(job: Job, i: number): bigint {
  if (job.seed === null) return randomBytes(8).readBigUInt64LE();
  return BigInt.asUintN(64, job.seed + BigInt(i));
}
