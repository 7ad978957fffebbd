import { type Fields, invalid, isJsonObject, type JsonObject, unsupported } from "../schema.js";
import { present, refuseRoutingWish } from "../translate.js";

/** The body of POST /v1/messages as the body of a chat. */

/** Of this API, what a chat calls otherwise. */
export const FIELD_NAMES = {
  max_completion_tokens: "max_tokens",
  stop: "stop_sequences",
  response_format: "output_config.format",
  continue_final_message: "messages",
} as const;

export function parseMessageOrder(fields: Fields): JsonObject {
  const conversation = parseConversation(fields);
  const maxTokens = fields.integer("max_tokens", { min: 1 });
  if (maxTokens === undefined) throw invalid("max_tokens", "an integer of at least 1", undefined);
  return present({
    ...conversation,
    max_completion_tokens: maxTokens,
    stream: fields.boolean("stream"),
    stop: fields.raw("stop_sequences"),
    temperature: fields.number("temperature", { min: 0, max: 1 }),
    top_p: fields.raw("top_p"),
    top_k: fields.raw("top_k"),
    response_format: responseFormat(fields),
    seed: fields.raw("seed"),
    adapters: fields.raw("adapters"),
    router: fields.raw("router"),
  });
}

/** The fields that decide what the model reads; counting tokens takes no others. */
export function parseConversation(fields: Fields): JsonObject {
  refuseUnserved(fields);
  const system = fields.raw("system");
  const messages: JsonObject[] = [];
  if (system !== undefined) messages.push({ role: "system", content: texts(system, "system") });
  const given = fields.raw("messages");
  if (!Array.isArray(given)) throw invalid("messages", "an array of messages", given);
  given.forEach((message: unknown, i) => {
    addMessage(messages, message, `messages[${i}]`);
  });
  const continues = messages.at(-1)?.role === "assistant";
  return present({
    model: fields.raw("model"),
    messages,
    ...(continues ? { continue_final_message: true, add_generation_prompt: false } : {}),
    ...tools(fields),
  });
}

const ROLES: readonly unknown[] = ["user", "assistant", "system"];

function addMessage(messages: JsonObject[], message: unknown, param: string): void {
  if (!isJsonObject(message)) throw invalid(param, "an object", message);
  const { role, content } = message;
  if (!ROLES.includes(role)) throw invalid(`${param}.role`, "one of user, assistant", role);
  if (typeof content === "string") {
    messages.push({ role, content });
    return;
  }
  if (!Array.isArray(content)) {
    throw invalid(`${param}.content`, "a string or an array of content blocks", content);
  }
  const parts: JsonObject[] = [];
  const calls: JsonObject[] = [];
  content.forEach((block: unknown, i) => {
    const name = `${param}.content[${i}]`;
    if (!isJsonObject(block)) throw invalid(name, "an object", block);
    if (block.type === "text") parts.push(textPart(block, name));
    else if (block.type === "tool_use" && role === "assistant") calls.push(toolCall(block, name));
    else if (block.type === "tool_result" && role === "user") messages.push(result(block, name));
    else throw unsupportedBlock(block, name);
  });
  if (parts.length + calls.length === 0 && content.length > 0) return; // results alone
  messages.push({
    role,
    content: parts.length === 0 && calls.length > 0 ? null : parts,
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  });
}

function texts(value: unknown, param: string): unknown {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) throw invalid(param, "a string or an array of text blocks", value);
  return value.map((block: unknown, i) => {
    const name = `${param}[${i}]`;
    if (!isJsonObject(block)) throw invalid(name, "an object", block);
    if (block.type !== "text") throw unsupportedBlock(block, name);
    return textPart(block, name);
  });
}

function textPart({ text }: JsonObject, param: string): JsonObject {
  return { type: "text", text: string(text, `${param}.text`) };
}

function toolCall({ id, name, input }: JsonObject, param: string): JsonObject {
  return {
    id: string(id, `${param}.id`),
    type: "function",
    function: { name: string(name, `${param}.name`), arguments: JSON.stringify(input ?? {}) },
  };
}

function result({ tool_use_id, content }: JsonObject, param: string): JsonObject {
  return {
    role: "tool",
    tool_call_id: string(tool_use_id, `${param}.tool_use_id`),
    content: texts(content ?? "", `${param}.content`),
  };
}

function unsupportedBlock({ type }: JsonObject, param: string) {
  const shown = JSON.stringify(type)?.slice(0, 60);
  return unsupported(param, `: a block of type ${shown} here; this model reads text only`);
}

function string(value: unknown, param: string): string {
  if (typeof value === "string") return value;
  throw invalid(param, "a string", value);
}

function tools(fields: Fields): JsonObject {
  const given = fields.raw("tools");
  const choice = fields.object("tool_choice");
  if (given === undefined || (Array.isArray(given) && given.length === 0)) return {};
  if (!Array.isArray(given)) throw invalid("tools", "an array", given);
  const definitions = given.map((tool: unknown, i) => {
    if (!isJsonObject(tool)) throw invalid(`tools[${i}]`, "an object", tool);
    if ((tool.type ?? "custom") !== "custom") {
      const shown = JSON.stringify(tool.type).slice(0, 60);
      throw unsupported(`tools[${i}].type`, `: ${shown}; this server runs no tools of its own`);
    }
    const { name, description, input_schema, strict } = tool;
    const definition = present({ name, description, parameters: input_schema, strict });
    return { type: "function", function: definition };
  });
  const single = choice?.disable_parallel_tool_use === true;
  return {
    tools: definitions,
    tool_prompt: fields.raw("tool_prompt"),
    tool_choice: toolChoice(choice),
    ...(single ? { parallel_tool_calls: false } : {}),
  };
}

function toolChoice(choice: JsonObject | undefined): unknown {
  switch (choice?.type) {
    case undefined:
    case "auto":
      return "auto";
    case "any":
      return "required";
    case "none":
      return "none";
    case "tool":
      return { type: "function", function: { name: choice?.name } };
    default:
      throw invalid("tool_choice.type", "one of auto, any, tool, none", choice?.type);
  }
}

function responseFormat(fields: Fields): JsonObject | undefined {
  const format = fields.object("output_config")?.format ?? undefined;
  if (format === undefined) return undefined;
  if (!isJsonObject(format) || format.type !== "json_schema") {
    throw invalid("output_config.format", "an object of type json_schema", format);
  }
  return {
    type: "json_schema",
    json_schema: { name: "answer", strict: true, schema: format.schema },
  };
}

/** Fields that would change the answer and are not served, with the values that change nothing. */
const UNSERVED: Readonly<Record<string, (value: unknown) => boolean>> = {
  thinking: (value) => isJsonObject(value) && value.type === "disabled",
  mcp_servers: (value) => Array.isArray(value) && value.length === 0,
  container: () => false,
  context_management: () => false,
};

const HARMLESS = ["metadata", "service_tier", "cache_control", "inference_geo"];

function refuseUnserved(fields: Fields): void {
  for (const [name, changesNothing] of Object.entries(UNSERVED)) {
    const value = fields.raw(name);
    if (value !== undefined && !changesNothing(value)) throw unsupported(name, " by this server");
  }
  for (const name of HARMLESS) fields.raw(name);
  refuseRoutingWish(fields);
}
