import { ApiError } from "../errors.js";
import type { ChatMessage } from "../text/text.js";
import type { ApiContext } from "./context.js";

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

function leastTokens(text: string, { tokenizer }: ApiContext): number {
  return Buffer.byteLength(text) / (tokenizer?.maxBytesPerToken ?? Infinity);
}

function refuseBeyond(leastTokens: number, param: Param, { maxModelLen }: ApiContext): void {
  if (leastTokens <= maxModelLen) return;
  const message =
    `This model's maximum context length is ${maxModelLen} tokens. However, the ${param} ` +
    `${param === "messages" ? "hold" : "holds"} at least ${Math.ceil(leastTokens)} tokens. ` +
    `Please reduce the length of the ${param}.`;
  throw new ApiError("context_length_exceeded", { message, param });
}
