import { ApiError } from "../errors.js";
import { chat } from "./chat.js";
import type { ApiContext } from "./context.js";
import type { Admit, Job } from "./job.js";
import { Fields, type JsonObject, unsupported } from "./schema.js";

/** Other APIs of conversations, told as a chat: what a chat can do, they can. */

/** A field of a chat and what the other API calls it. */
export type FieldNames = Readonly<Record<string, string>>;

/** The answers of these APIs have no place for it. */
export function refuseRoutingWish(fields: Fields): void {
  const wish = fields.raw("return_routing");
  if (wish === undefined || wish === false) return;
  throw unsupported("return_routing", " here, but by /v1/chat/completions");
}

/** The job of a chat's body. Throws ApiError in the other API's words. */
export async function parseAsChat(
  body: JsonObject,
  names: FieldNames,
  context: ApiContext,
  alwaysStreams: boolean,
  admit: Admit,
): Promise<Job> {
  try {
    return await chat.parse(new Fields(body), context, alwaysStreams, admit);
  } catch (error) {
    throw error instanceof ApiError ? inWordsOf(names, error) : error;
  }
}

/** Elements of a field count otherwise there than here: only the field itself is named. */
function inWordsOf(names: FieldNames, error: ApiError): ApiError {
  const { param } = error;
  const field = /^\w+/.exec(param ?? "")?.[0];
  if (param === null || field === undefined || !Object.hasOwn(names, field)) return error;
  const name = names[field]!;
  const message = error.message.startsWith(param)
    ? name + error.message.slice(param.length)
    : error.message;
  return new ApiError(error.code, { message, param: name, cause: error });
}

/** Leaves out what is absent: a chat would take null and undefined for values of the wrong type. */
export function present(body: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));
}
