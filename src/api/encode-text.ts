import { ApiError } from "../errors.js";
import type { ChatMessage } from "../text/text.js";
import type { ApiContext } from "./context.js";
import { invalid } from "./schema.js";

/**
 * From a client's text to ids. What is too long for the window whatever its tokens are is refused
 * before it costs the time to render and tokenize it.
 */

type Param = "prompt" | "messages" | "input";

/** The model must have a tokenizer. */
export function encodeText(
  text: string,
  param: Param,
  context: ApiContext,
  options: { readonly addSpecialTokens?: boolean } = {},
): Promise<number[]> {
  refuseBeyond(leastTokens(text, context), param, context);
  return context.tokenizer!.encode(text, options);
}

/** Every message becomes one token at least. */
export function refuseLongChat(messages: readonly ChatMessage[], context: ApiContext): void {
  refuseBeyond(messages.length, "messages", context);
  const tokens = messages.reduce((sum, { content }) => sum + leastTokens(content, context), 0);
  refuseBeyond(tokens, "messages", context);
}

function leastTokens(text: string, { tokenizer, maxModelLen }: ApiContext): number {
  const { maxBytesPerToken = Infinity } = tokenizer ?? {};
  const least = text.length / maxBytesPerToken; // a character has a byte at least
  return least > maxModelLen ? least : Buffer.byteLength(text) / maxBytesPerToken;
}

function refuseBeyond(leastTokens: number, param: Param, { maxModelLen }: ApiContext): void {
  if (leastTokens <= maxModelLen) return;
  const message =
    `This model's maximum context length is ${maxModelLen} tokens. However, the ${param} ` +
    `${param === "messages" ? "hold" : "holds"} at least ${Math.ceil(leastTokens)} tokens. ` +
    `Please reduce the length of the ${param}.`;
  throw new ApiError("context_length_exceeded", { message, param });
}

const IDS_PER_STEP = 4096;

/** Throws ApiError that names the first of a client's ids that is none. */
export function* checkIds(
  ids: readonly unknown[],
  param: string,
  vocab: number,
): Generator<void, void> {
  for (const [i, id] of ids.entries()) {
    if (i % IDS_PER_STEP === 0) yield;
    if (Number.isSafeInteger(id) && Number(id) >= 0 && Number(id) < vocab) continue;
    throw invalid(`${param}[${i}]`, `a token id from 0 to ${vocab - 1}`, id);
  }
}
