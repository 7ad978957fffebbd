import type { ChatMessage } from "../text/text.js";
import { invalid, isJsonObject, type JsonObject, unsupported } from "./schema.js";

/** `messages` of a chat: text in every role. */

const ROLES: readonly string[] = ["system", "developer", "user", "assistant", "tool"];

const MESSAGES_PER_STEP = 64;

export function* parseMessages(value: unknown): Generator<void, ChatMessage[]> {
  if (!Array.isArray(value)) throw invalid("messages", "an array of messages", value);
  if (value.length === 0) throw invalid("messages", "an array of at least one message", value);
  const messages: ChatMessage[] = [];
  for (const [i, message] of value.entries()) {
    if (i % MESSAGES_PER_STEP === 0) yield;
    messages.push(parseMessage(message, `messages[${i}]`));
  }
  return messages;
}

function parseMessage(message: unknown, param: string): ChatMessage {
  if (!isJsonObject(message)) throw invalid(param, "an object", message);
  const { role, content, name, tool_calls, tool_call_id } = message;
  if (typeof role !== "string" || !ROLES.includes(role)) {
    throw invalid(`${param}.role`, `one of ${ROLES.join(", ")}`, role);
  }
  const calls = role === "assistant" ? parseCalls(tool_calls, `${param}.tool_calls`) : undefined;
  if (name !== undefined && name !== null && typeof name !== "string") {
    throw invalid(`${param}.name`, "a string", name);
  }
  if (role === "tool" && typeof tool_call_id !== "string") {
    throw invalid(`${param}.tool_call_id`, "a string", tool_call_id);
  }
  return {
    role,
    content: parseContent(content, calls !== undefined, `${param}.content`),
    ...(typeof name === "string" ? { name } : {}),
    ...(calls === undefined ? {} : { tool_calls: calls }),
    ...(role === "tool" ? { tool_call_id: tool_call_id as string } : {}),
  };
}

/** What an assistant called: as it came, since templates may read more of it than is checked here. */
function parseCalls(calls: unknown, param: string): readonly JsonObject[] | undefined {
  if (calls === undefined || calls === null) return undefined;
  if (!Array.isArray(calls)) throw invalid(param, "an array", calls);
  return calls.map((call: unknown, i) => {
    if (!isJsonObject(call)) throw invalid(`${param}[${i}]`, "an object", call);
    const made = call.function;
    if (!isJsonObject(made)) throw invalid(`${param}[${i}].function`, "an object", made);
    for (const field of ["name", "arguments"]) {
      const text = made[field];
      if (typeof text !== "string") {
        throw invalid(`${param}[${i}].function.${field}`, "a string", text);
      }
    }
    return call;
  });
}

/** `optional`: an assistant's message that calls tools may say nothing. */
function parseContent(content: unknown, optional: boolean, param: string): string {
  if (typeof content === "string") return content;
  if ((content === undefined || content === null) && optional) return "";
  if (!Array.isArray(content)) throw invalid(param, "a string or an array of text parts", content);
  return content.map((part: unknown, i) => parsePart(part, `${param}[${i}]`)).join("\n");
}

function parsePart(part: unknown, param: string): string {
  if (!isJsonObject(part)) throw invalid(param, "an object", part);
  if (typeof part.type === "string" && part.type !== "text") {
    throw unsupported(
      param,
      `: a part of type ${part.type.slice(0, 40)}; this model reads text only`,
    );
  }
  if (part.type !== "text") throw invalid(`${param}.type`, `"text"`, part.type);
  if (typeof part.text !== "string") throw invalid(`${param}.text`, "a string", part.text);
  return part.text;
}
