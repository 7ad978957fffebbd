import { AUTO_MODEL } from "../config.js";
import { ApiError } from "../errors.js";
import type { SamplingParams } from "../scheduler/request.js";
import type { ApiContext, ServedModel } from "./context.js";
import type { Job } from "./job.js";
import { findModel } from "./models.js";
import { type Fields, invalid, isJsonObject, unsupported } from "./schema.js";

/** The fields that completions and chat have in common. */

const MAX_CHOICES_PER_PROMPT = 128;
const MAX_STOP_STRINGS = 16;
const MAX_LOGIT_BIASES = 300;
export const MAX_TOP_LOGPROBS = 20;

export function parseModel(fields: Fields, context: ApiContext): ServedModel {
  const name = fields.string("model");
  if (name === undefined) {
    const message = `model is missing: name one of GET /v1/models, for example ${context.models.base.name}.`;
    throw new ApiError("invalid_parameter", { message, param: "model" });
  }
  if (name === AUTO_MODEL && context.router?.ready === true) {
    const message = `model "${AUTO_MODEL}" is for conversations (chat, responses, messages); name a model here.`;
    throw new ApiError("not_supported", { message, param: "model" });
  }
  return findModel(name, context);
}

type CommonFields = Pick<
  Job,
  | "n"
  | "candidates"
  | "sampling"
  | "seed"
  | "priority"
  | "stop"
  | "ignoreEos"
  | "returnTokenIds"
  | "tokensAsIds"
  | "stream"
  | "includeUsage"
>;

/** `alwaysStreams`: the transport streams whatever `stream` says. */
export function parseCommon(
  fields: Fields,
  context: ApiContext,
  alwaysStreams: boolean,
): CommonFields {
  const asked = fields.boolean("stream") ?? false;
  const stream = alwaysStreams || asked;
  const seed = fields.integer("seed", {});
  const n = fields.integer("n", { min: 1, max: MAX_CHOICES_PER_PROMPT }) ?? 1;
  return {
    n,
    candidates: n,
    sampling: parseSampling(fields, context),
    seed: seed === undefined ? null : BigInt.asUintN(64, BigInt(seed)),
    priority: fields.integer("priority", {}) ?? 0,
    stop: parseStop(fields, context),
    ignoreEos: fields.boolean("ignore_eos") ?? false,
    returnTokenIds: fields.boolean("return_token_ids") ?? false,
    tokensAsIds: fields.boolean("return_tokens_as_token_ids") ?? false,
    stream,
    includeUsage: parseIncludeUsage(fields, stream),
  };
}

function parseSampling(fields: Fields, context: ApiContext): Omit<SamplingParams, "seed"> {
  const topK = fields.integer("top_k", { min: -1 }) ?? 0;
  return {
    temperature: fields.number("temperature", { min: 0, max: 2 }) ?? 1,
    topP: fields.number("top_p", { above: 0, max: 1 }) ?? 1,
    topK: Math.min(Math.max(topK, 0), context.vocab), // -1 is vLLM's other word for off
    minP: fields.number("min_p", { min: 0, max: 1 }) ?? 0,
    presencePenalty: fields.number("presence_penalty", { min: -2, max: 2 }) ?? 0,
    frequencyPenalty: fields.number("frequency_penalty", { min: -2, max: 2 }) ?? 0,
    repetitionPenalty: fields.number("repetition_penalty", { min: 0.01, max: 100 }) ?? 1,
    logitBias: parseLogitBias(fields, context),
  };
}

function parseLogitBias(fields: Fields, context: ApiContext): ReadonlyMap<number, number> {
  const entries = Object.entries(fields.object("logit_bias") ?? {});
  if (entries.length > MAX_LOGIT_BIASES) {
    throw invalid("logit_bias", `an object of at most ${MAX_LOGIT_BIASES} tokens`, entries.length);
  }
  return new Map(
    entries.map(([key, value]) => {
      const token = /^\d{1,9}$/.test(key) ? Number(key) : -1;
      if (token < 0 || token >= context.vocab) {
        throw invalid("logit_bias", `keyed by token ids from 0 to ${context.vocab - 1}`, key);
      }
      if (typeof value !== "number" || value < -100 || value > 100) {
        throw invalid(`logit_bias.${key}`, "a number from -100 to 100", value);
      }
      return [token, value];
    }),
  );
}

function parseStop(fields: Fields, context: ApiContext): string[] {
  const value = fields.raw("stop");
  if (value === undefined) return [];
  const stops = Array.isArray(value) ? value : [value];
  if (stops.length > MAX_STOP_STRINGS) {
    throw invalid("stop", `at most ${MAX_STOP_STRINGS} strings`, stops.length);
  }
  for (const [i, stop] of stops.entries()) {
    if (typeof stop !== "string") {
      if (stops === value) throw invalid(`stop[${i}]`, "a string", stop);
      throw invalid("stop", "a string or an array of strings", value);
    }
    if (stop === "") throw invalid("stop", "free of empty strings", stop);
  }
  if (stops.length > 0 && context.tokenizer === null) {
    throw unsupported("stop", `: ${context.noTokenizerReason}`);
  }
  return stops;
}

function parseIncludeUsage(fields: Fields, stream: boolean): boolean {
  const options = fields.object("stream_options");
  if (options === undefined) return false;
  if (!stream) {
    const message = "stream_options is only allowed when stream is true.";
    throw new ApiError("invalid_parameter", { message, param: "stream_options" });
  }
  const include = options.include_usage ?? false;
  if (typeof include === "boolean") return include;
  throw invalid("stream_options.include_usage", "true or false", include);
}

/** `best_of`: how many completions are generated for the n of each prompt that are answered. */
export function parseBestOf(fields: Fields, n: number, stream: boolean): number {
  const bestOf = fields.integer("best_of", { min: 1, max: MAX_CHOICES_PER_PROMPT }) ?? n;
  if (bestOf < n) throw invalid("best_of", `at least n, which is ${n}`, bestOf);
  if (bestOf > n && stream) {
    const message =
      "best_of above n is only allowed when stream is false: which are best shows at the end.";
    throw new ApiError("invalid_parameter", { message, param: "best_of" });
  }
  return bestOf;
}

/** Fields that would change the answer, with the values that change nothing. */
type Unserved = Readonly<Record<string, (value: unknown, n: number) => boolean>>;

/** Served by completions alone. */
export const COMPLETIONS_ONLY: Unserved = {
  best_of: (value, n) => value === n,
};

/** Served by chats alone. */
export const CHAT_ONLY: Unserved = {
  continue_final_message: (value) => value === false,
  add_generation_prompt: (value) => value === true,
};

/** Not served at all. */
const UNSERVED: Unserved = {
  suffix: (value) => value === "",
  functions: isEmptyArray,
  function_call: (value) => value === "none" || value === "auto",
  modalities: (value) => Array.isArray(value) && value.every((item) => item === "text"),
  audio: () => false,
  prediction: () => false,
  web_search_options: () => false,
  use_beam_search: (value) => value === false,
  length_penalty: (value) => value === 1,
  min_tokens: (value) => value === 0,
  stop_token_ids: isEmptyArray,
  bad_words: isEmptyArray,
  allowed_token_ids: () => false,
  prompt_logprobs: () => false,
  truncate_prompt_tokens: () => false,
  include_stop_str_in_output: (value) => value === false,
  skip_special_tokens: (value) => value === true,
  chat_template: () => false,
  chat_template_kwargs: (value) => isJsonObject(value) && Object.keys(value).length === 0,
  documents: isEmptyArray,
};

function isEmptyArray(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

/** Fields that OpenAI defines and that change nothing here. */
const HARMLESS = [
  "user",
  "metadata",
  "store",
  "service_tier",
  "prompt_cache_key",
  "prompt_cache_retention",
  "safety_identifier",
];

/** Refuses by name what would otherwise be ignored; `elsewhere`: what another endpoint serves. */
export function refuseUnserved(fields: Fields, n: number, elsewhere: Unserved): void {
  const refuse = (unserved: Unserved, where: string) => {
    for (const [name, changesNothing] of Object.entries(unserved)) {
      const value = fields.raw(name);
      if (value !== undefined && !changesNothing(value, n)) throw unsupported(name, where);
    }
  };
  refuse(UNSERVED, " by this server");
  refuse(elsewhere, " by this endpoint");
  for (const name of HARMLESS) fields.raw(name);
}

/** Completion tokens of a prompt, within the window. `fallback` is what a silent client gets at most. */
export function completionBudget(
  promptTokens: number,
  asked: number | undefined,
  fallback: number,
  context: ApiContext,
  param: "prompt" | "messages" | "input",
): number {
  const rest = context.maxModelLen - promptTokens;
  const budget = asked ?? Math.min(fallback, rest);
  if (budget <= rest && rest >= (asked ?? 1)) return budget;
  const completion = asked ?? 1;
  const message =
    `This model's maximum context length is ${context.maxModelLen} tokens. However, you requested ` +
    `${promptTokens + completion} tokens (${promptTokens} in the ${param}, ${completion} in the completion). ` +
    `Please reduce the length of the ${param} or completion.`;
  throw new ApiError("context_length_exceeded", { message, param });
}
