import type { ApiContext } from "../context.js";
import type { Endpoint } from "../endpoint.js";
import { Fields, type JsonObject } from "../schema.js";
import { parseAsChat } from "../translate.js";
import { MessageEncoder } from "./encode.js";
import { FIELD_NAMES, parseConversation, parseMessageOrder } from "./input.js";

/** POST /v1/messages: Anthropic's API of conversations. */
export const messages: Endpoint = {
  idPrefix: "msg_",
  operation: "chat",
  framing: "named",
  async parse(fields, context, alwaysStreams, admit) {
    const chat = parseMessageOrder(fields);
    const job = await parseAsChat(chat, FIELD_NAMES, context, alwaysStreams, admit);
    return { ...job, includeUsage: true };
  },
  encoder: (job, envelope) => new MessageEncoder(job, envelope),
};

/** POST /v1/messages/count_tokens */
export async function countTokens(body: JsonObject, context: ApiContext) {
  const chat = parseConversation(new Fields(body));
  const job = await parseAsChat(chat, FIELD_NAMES, context, false, () => {});
  return { input_tokens: job.prompts[0]?.ids.length ?? 0 };
}
