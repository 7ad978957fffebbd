import { AUTO_MODEL } from "../config.js";
import { ApiError } from "../errors.js";
import { MOST_ITEMS } from "../json/read.js";
import { lazyList } from "../json/write.js";
import { spread } from "../turns.js";
import { parseEnding, render } from "./chat.js";
import { parseMessages } from "./chat-messages.js";
import type { ApiContext } from "./context.js";
import { checkIds, encodeText } from "./encode-text.js";
import { findModel, servedRouter } from "./models.js";
import { Fields, invalid, type JsonObject, unsupported } from "./schema.js";

/** POST /tokenize and POST /detokenize, in vLLM's shapes. */

type UnknownFields = (names: readonly string[]) => void;

const MAX_TOKENS = MOST_ITEMS;
const WHOLE = { skipSpecialTokens: false };

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
  const text = prompt ?? (await renderMessages(messages, fields, context));
  unknownFields(fields.unread());
  // A chat's template writes the special tokens itself.
  const addSpecialTokens = special ?? prompt !== undefined;
  const param = prompt === undefined ? "messages" : "prompt";
  const tokens = await encodeText(text, param, context, { addSpecialTokens });
  return {
    count: tokens.length,
    max_model_len: maxModelLen,
    tokens,
    token_strs: withTexts ? lazyList(tokens, (id) => tokenizer.decode([id], WHOLE)) : null,
  };
}

async function renderMessages(
  value: unknown,
  fields: Fields,
  context: ApiContext,
): Promise<string> {
  const messages = await spread(parseMessages(value));
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
  await spread(checkIds(tokens, "tokens", vocab));
  return { prompt: await spread(tokenizer.decoding(tokens, WHOLE)) };
}

/** All models served here share the base's tokenizer. */
function checkModel(fields: Fields, context: ApiContext): void {
  const name = fields.string("model");
  if (name === undefined || (name === AUTO_MODEL && servedRouter(context) !== null)) return;
  findModel(name, context);
}
