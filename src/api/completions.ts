import { ApiError } from "../errors.js";
import { spread } from "../turns.js";
import type { ApiContext } from "./context.js";
import { readEcho } from "./echo.js";
import { CompletionEncoder } from "./encode.js";
import { checkIds, encodeText } from "./encode-text.js";
import type { Endpoint } from "./endpoint.js";
import { type Admit, estimateTokens, type Job, type Prompt } from "./job.js";
import { parseMixing } from "./mixing.js";
import {
  CHAT_ONLY,
  completionBudget,
  MAX_TOP_LOGPROBS,
  parseBestOf,
  parseCommon,
  parseModel,
  refuseUnserved,
} from "./parameters.js";
import { type Fields, invalid, unsupported } from "./schema.js";
import { compileGrammar, parseStructure } from "./structured.js";
import { parseTools } from "./tools.js";

/** POST /v1/completions */

const DEFAULT_MAX_TOKENS = 16;
const MAX_CHOICES = 1024; // of all prompts together

/** Ids that nobody has looked at yet, and what an error calls them. */
interface RawIds {
  readonly ids: readonly number[];
  readonly param: string;
}

type RawPrompt = string | RawIds;

export const completions: Endpoint = {
  idPrefix: "cmpl-",
  operation: "text_completion",
  framing: "data",
  parse: parseCompletion,
  encoder: (job, envelope, names) => new CompletionEncoder(job, envelope, names),
};

async function parseCompletion(
  fields: Fields,
  context: ApiContext,
  alwaysStreams: boolean,
  admit: Admit,
): Promise<Job> {
  const model = parseModel(fields, context);
  const mixing = parseMixing(fields, model, context);
  const common = parseCommon(fields, context, alwaysStreams);
  refuseUnserved(fields, common.n, CHAT_ONLY);
  const candidates = parseBestOf(fields, common.n, common.stream);
  const structure = await spread(parseStructure(fields));
  if (parseTools(fields) !== null) throw unsupported("tools", ": use /v1/chat/completions");
  const logprobs = fields.integer("logprobs", { min: 0, max: MAX_TOP_LOGPROBS }) ?? null;
  const echo = fields.boolean("echo") ?? false;
  const maxTokens = fields.integer("max_tokens", { min: 0 });
  const raw = parsePrompts(fields.raw("prompt"), context);
  if (raw.length * candidates > MAX_CHOICES) {
    const most = `at most ${Math.floor(MAX_CHOICES / raw.length)} for so many prompts`;
    throw invalid(candidates > common.n ? "best_of" : "n", most, candidates);
  }
  const lengths = raw.map((it) => (typeof it === "string" ? estimateTokens(it) : it.ids.length));
  admit(raw.length * candidates, candidates * lengths.reduce((sum, length) => sum + length, 0));
  const [grammar, ...prompts] = await Promise.all([
    structure === null ? null : compileGrammar(structure, common.ignoreEos, context),
    ...raw.map((prompt) => tokenize(prompt, maxTokens, echo, context)),
  ]);
  const whole = { logprobs, grammar, toolFormat: null };
  return { ...common, candidates, model, auto: null, mixing, prompts, ...whole };
}

async function tokenize(
  prompt: RawPrompt,
  maxTokens: number | undefined,
  echoed: boolean,
  context: ApiContext,
): Promise<Prompt> {
  const text = typeof prompt === "string" ? prompt : null;
  const ids =
    typeof prompt === "string"
      ? await encodeText(prompt, "prompt", context, { addSpecialTokens: true })
      : prompt.ids;
  if (ids.length === 0) throw emptyPrompt();
  const budget = completionBudget(ids.length, maxTokens, DEFAULT_MAX_TOKENS, context, "prompt");
  if (typeof prompt !== "string") await spread(checkIds(ids, prompt.param, context.vocab));
  const echo = echoed ? await spread(readEcho(ids, text, context.decoder())) : null;
  return { ids, echo, maxTokens: budget };
}

/** A string, an array of strings, an array of token ids or an array of arrays of token ids. */
function parsePrompts(value: unknown, context: ApiContext): RawPrompt[] {
  if (typeof value === "string") return [textPrompt(value, context)];
  if (!Array.isArray(value)) throw wrongPrompt(value);
  const [first] = value;
  if (first === undefined) throw emptyPrompt();
  if (typeof first === "number") return [idPrompt(value, "prompt")];
  if (value.length > MAX_CHOICES) {
    throw invalid("prompt", `an array of at most ${MAX_CHOICES} prompts`, value.length);
  }
  return value.map((item: unknown, i) => {
    if (typeof first === "string" && typeof item === "string") return textPrompt(item, context);
    if (Array.isArray(first) && Array.isArray(item)) return idPrompt(item, `prompt[${i}]`);
    const alike = Array.isArray(first) ? "an array of token ids" : "a string";
    if (i === 0) throw invalid("prompt[0]", "a string, a token id or an array of token ids", item);
    throw invalid(`prompt[${i}]`, `${alike}, as prompt[0] is`, item);
  });
}

function textPrompt(text: string, context: ApiContext): string {
  if (context.tokenizer !== null) return text;
  const message = `prompt must be token ids: ${context.noTokenizerReason}`;
  throw new ApiError("not_supported", { message, param: "prompt" });
}

function idPrompt(ids: readonly number[], param: string): RawIds {
  if (ids.length === 0) throw emptyPrompt();
  return { ids, param };
}

function wrongPrompt(value: unknown): ApiError {
  const wanted = "a string, an array of strings, an array of token ids or an array of such arrays";
  return invalid("prompt", wanted, value);
}

function emptyPrompt(): ApiError {
  const message = "prompt is empty: it must hold at least one token.";
  return new ApiError("invalid_parameter", { message, param: "prompt" });
}
