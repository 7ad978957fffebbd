import { ApiError } from "../errors.js";
import { parseEnding, render } from "./chat.js";
import { parseMessages } from "./chat-messages.js";
import type { ApiContext } from "./context.js";
import { encodeText } from "./encode-text.js";
import { findModel } from "./models.js";
import { Fields, invalid, type JsonObject, unsupported } from "./schema.js";

/** POST /tokenize and POST /detokenize, in vLLM's shapes. */

type UnknownFields = (names: readonly string[]) => void;

const MAX_TOKENS = 1 << 20;

export async function tokenize(
  body: JsonObject,
  context: ApiContext,
  unknownFields: UnknownFields,
) {
  const fields = new Fields(body);
  checkModel(fields, context);
  const withTexts = fields.boolean("return_token_strs") ?? false;
  const special = fields.boolean("add_special_tokens");
  const prompt = fields.string("prompt");
  const messages = fields.raw("messages");
  if ((prompt === undefined) === (messages === undefined)) {
    const message = "Either prompt or messages must be given, and not both.";
    throw new ApiError("invalid_parameter", { message, param: "prompt" });
  }
  const { tokenizer, noTokenizerReason, maxModelLen } = context;
  if (tokenizer === null) throw unsupported("prompt", `: ${noTokenizerReason}`);
  const text = prompt ?? renderMessages(messages, fields, context);
  unknownFields(fields.unread());
  // A chat's template writes the special tokens itself.
  const addSpecialTokens = special ?? prompt !== undefined;
  const param = prompt === undefined ? "messages" : "prompt";
  const tokens = await encodeText(text, param, context, { addSpecialTokens });
  return {
    count: tokens.length,
    max_model_len: maxModelLen,
    tokens,
    token_strs: withTexts
      ? tokens.map((id) => tokenizer.decode([id], { skipSpecialTokens: false }))
      : null,
  };
}

function renderMessages(value: unknown, fields: Fields, context: ApiContext): string {
  const messages = parseMessages(value);
  return render(messages, parseEnding(fields, messages), context);
}

export async function detokenize(
  body: JsonObject,
  context: ApiContext,
  unknownFields: UnknownFields,
): Promise<object> {
  const fields = new Fields(body);
  checkModel(fields, context);
  const tokens = fields.raw("tokens");
  unknownFields(fields.unread());
  if (!Array.isArray(tokens)) throw invalid("tokens", "an array of token ids", tokens);
  if (tokens.length > MAX_TOKENS) {
    throw invalid("tokens", `an array of at most ${MAX_TOKENS} token ids`, tokens.length);
  }
  const { tokenizer, noTokenizerReason, vocab } = context;
  if (tokenizer === null) throw unsupported("tokens", `: ${noTokenizerReason}`);
  for (const [i, id] of tokens.entries()) {
    if (!Number.isSafeInteger(id) || id < 0 || id >= vocab) {
      throw invalid(`tokens[${i}]`, `a token id from 0 to ${vocab - 1}`, id);
    }
  }
  return { prompt: tokenizer.decode(tokens, { skipSpecialTokens: false }) };
}

/** All models served here share the base's tokenizer. */
function checkModel(fields: Fields, context: ApiContext): void {
  const name = fields.string("model");
  if (name !== undefined) findModel(name, context);
}
