import { type Fields, invalid, isJsonObject, type JsonObject, unsupported } from "../schema.js";
import { present, refuseRoutingWish } from "../translate.js";

/** The body of POST /v1/responses as the body of a chat. */

/** Of this API, what a chat calls otherwise. */
export const FIELD_NAMES = {
  messages: "input",
  max_completion_tokens: "max_output_tokens",
  response_format: "text.format",
} as const;

/** What an answer repeats of its request. */
export interface Echo {
  readonly instructions: string | null;
  readonly max_output_tokens: number | null;
  readonly metadata: JsonObject;
  readonly parallel_tool_calls: boolean;
  readonly temperature: number;
  readonly text: JsonObject;
  readonly tool_choice: unknown;
  readonly tools: readonly unknown[];
  readonly top_p: number;
  readonly truncation: "disabled";
  readonly user: string | null;
}

export interface ResponseOrder {
  readonly chat: JsonObject;
  readonly repeated: Echo;
}

const LOGPROBS = "message.output_text.logprobs";

export function parseResponseOrder(fields: Fields): ResponseOrder {
  refuseUnserved(fields);
  const instructions = fields.string("instructions");
  const maxTokens = fields.integer("max_output_tokens", { min: 1 });
  const text = fields.object("text") ?? { format: { type: "text" } };
  const tools = parseTools(fields.raw("tools"));
  const toolChoice = fields.raw("tool_choice");
  const parallel = fields.boolean("parallel_tool_calls") ?? true;
  const temperature = fields.raw("temperature");
  const topP = fields.raw("top_p");
  const system = instructions === undefined ? [] : [{ role: "system", content: instructions }];
  const logprobs = parseInclude(fields);
  const chat = present({
    model: fields.raw("model"),
    messages: [...system, ...parseInput(fields.raw("input"))],
    stream: fields.boolean("stream"),
    max_completion_tokens: maxTokens,
    temperature,
    top_p: topP,
    logprobs,
    top_logprobs: fields.raw("top_logprobs"),
    response_format: responseFormat(text.format),
    ...(tools.length === 0
      ? {}
      : { tools: tools.map(chatTool), tool_choice: chatChoice(toolChoice) }),
    parallel_tool_calls: parallel,
    ...extensions(fields),
  });
  const repeated: Echo = {
    instructions: instructions ?? null,
    max_output_tokens: maxTokens ?? null,
    metadata: fields.object("metadata") ?? {},
    parallel_tool_calls: parallel,
    temperature: (temperature as number | undefined) ?? 1, // checked by the chat
    text: { format: { type: "text" }, ...text },
    tool_choice: toolChoice ?? "auto",
    tools,
    top_p: (topP as number | undefined) ?? 1,
    truncation: "disabled",
    user: fields.string("user") ?? null,
  };
  return { chat, repeated };
}

/** Controls beyond OpenAI's, the same as in a chat. */
const EXTENSIONS = [
  "adapters",
  "router",
  "seed",
  "top_k",
  "min_p",
  "repetition_penalty",
  "ignore_eos",
  "stop",
  "tool_prompt",
] as const;

function extensions(fields: Fields): JsonObject {
  return Object.fromEntries(EXTENSIONS.map((name) => [name, fields.raw(name)]));
}

/** Fields that would change the answer and are not served, with the values that change nothing. */
const UNSERVED: Readonly<Record<string, readonly [unknown, why: string]>> = {
  previous_response_id: [null, ": this server keeps no responses; send the whole conversation"],
  conversation: [null, ": this server keeps no conversations; send the whole conversation"],
  store: [false, ": this server keeps no responses; leave it out or send false"],
  background: [false, " by this server"],
  prompt: [null, ": this server keeps no prompts"],
  truncation: ["disabled", " by this server"],
  max_tool_calls: [null, ": this server has no tools of its own"],
  context_management: [null, " by this server"],
  moderation: [null, " by this server"],
};

/** Fields that change nothing here: there is one tier, and no reasoning. */
const HARMLESS = [
  "service_tier",
  "safety_identifier",
  "prompt_cache_key",
  "prompt_cache_options",
  "prompt_cache_retention",
  "reasoning",
  "stream_options",
];

function refuseUnserved(fields: Fields): void {
  for (const [name, [harmless, why]] of Object.entries(UNSERVED)) {
    const value = fields.raw(name);
    if (value !== undefined && value !== harmless) throw unsupported(name, why);
  }
  for (const name of HARMLESS) fields.raw(name);
  refuseRoutingWish(fields);
}

/** Whether log-probabilities are wanted. */
function parseInclude(fields: Fields): boolean | undefined {
  const include = fields.raw("include");
  if (include === undefined) return undefined;
  if (!Array.isArray(include)) throw invalid("include", "an array", include);
  for (const item of include) {
    // Nothing that is encrypted is ever made here, so there is nothing to include.
    if (item !== LOGPROBS && item !== "reasoning.encrypted_content") {
      throw unsupported("include", `: ${JSON.stringify(item)}`);
    }
  }
  return include.includes(LOGPROBS) || undefined;
}

function parseInput(input: unknown): JsonObject[] {
  if (typeof input === "string") return [{ role: "user", content: input }];
  if (!Array.isArray(input)) throw invalid("input", "a string or an array of items", input);
  if (input.length === 0) throw invalid("input", "an array of at least one item", input);
  const messages: JsonObject[] = [];
  input.forEach((item: unknown, i) => {
    addItem(messages, item, `input[${i}]`);
  });
  return messages;
}

function addItem(messages: JsonObject[], item: unknown, param: string): void {
  if (!isJsonObject(item)) throw invalid(param, "an object", item);
  switch (item.type ?? "message") {
    case "message":
      messages.push({ role: item.role, content: content(item.content, `${param}.content`) });
      return;
    case "function_call":
      addCall(messages, item, param);
      return;
    case "function_call_output":
      messages.push({
        role: "tool",
        tool_call_id: text(item.call_id, `${param}.call_id`),
        content: content(item.output, `${param}.output`),
      });
      return;
    default:
      throw unsupported(
        `${param}.type`,
        `: an item of type ${JSON.stringify(item.type).slice(0, 60)}; items are message, function_call and function_call_output`,
      );
  }
}

/** Calls that follow each other were made at once: one message of a chat holds them. */
function addCall(messages: JsonObject[], item: JsonObject, param: string): void {
  const call = {
    id: text(item.call_id, `${param}.call_id`),
    type: "function",
    function: {
      name: text(item.name, `${param}.name`),
      arguments: text(item.arguments, `${param}.arguments`),
    },
  };
  const last = messages.at(-1);
  if (last?.role === "assistant" && Array.isArray(last.tool_calls)) last.tool_calls.push(call);
  else messages.push({ role: "assistant", content: null, tool_calls: [call] });
}

const TEXT_PARTS: readonly unknown[] = ["input_text", "output_text", "text"];

function content(value: unknown, param: string): unknown {
  if (!Array.isArray(value)) return text(value, param);
  return value.map((part: unknown, i) => {
    const name = `${param}[${i}]`;
    if (!isJsonObject(part)) throw invalid(name, "an object", part);
    if (!TEXT_PARTS.includes(part.type)) {
      const type = JSON.stringify(part.type)?.slice(0, 60);
      throw unsupported(name, `: a part of type ${type}; this model reads text only`);
    }
    return { type: "text", text: text(part.text, `${name}.text`) };
  });
}

function text(value: unknown, param: string): string {
  if (typeof value === "string") return value;
  throw invalid(param, "a string", value);
}

function responseFormat(format: unknown): JsonObject | undefined {
  if (format === undefined || format === null) return undefined;
  if (!isJsonObject(format)) throw invalid("text.format", "an object", format);
  if (format.type === "text") return undefined;
  if (format.type !== "json_schema") return format;
  const { type, ...schema } = format;
  return { type, json_schema: schema };
}

function parseTools(value: unknown): JsonObject[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw invalid("tools", "an array", value);
  return value.map((tool: unknown, i) => {
    if (!isJsonObject(tool)) throw invalid(`tools[${i}]`, "an object", tool);
    if (tool.type === "function") return tool;
    const type = JSON.stringify(tool.type)?.slice(0, 60);
    throw unsupported(`tools[${i}].type`, `: ${type}; this server runs no tools of its own`);
  });
}

function chatTool({ type, ...definition }: JsonObject): JsonObject {
  return { type, function: definition };
}

function chatChoice(choice: unknown): unknown {
  if (!isJsonObject(choice) || choice.type !== "function") return choice;
  return { type: "function", function: { name: choice.name } };
}
