import { readJson } from "../json/read.js";
import { jsonText } from "../json/write.js";
import type { ChatMessage } from "./text.js";

/** How a model writes calls of functions, and how it is told which there are. */
export interface ToolFormat {
  /** Around each call. */
  readonly open: string;
  readonly close: string;
  /** What a call's arguments are called. */
  readonly argumentsKey: "arguments" | "parameters";
}

/** One JSON object per line: what models are asked for that were not taught another way. */
export const PLAIN_FORMAT: ToolFormat = { open: "", close: "", argumentsKey: "arguments" };
const HERMES_FORMAT: ToolFormat = {
  open: "<tool_call>\n",
  close: "\n</tool_call>",
  argumentsKey: "arguments",
};
const LLAMA_FORMAT: ToolFormat = { open: "", close: "", argumentsKey: "parameters" };

/** The format of a template that lists tools itself; null: it does not, or in a format unknown here. */
export function toolFormatOf(template: string): ToolFormat | null {
  if (!/\btools\b/.test(template)) return null;
  if (template.includes("<tool_call>") && !template.includes("<function=")) return HERMES_FORMAT;
  return template.includes('"parameters": dictionary') ? LLAMA_FORMAT : null;
}

export interface ToolListing {
  readonly tools: readonly object[]; // as OpenAI has them
  /** The answer has to be a call. */
  readonly required: boolean;
  readonly parallel: boolean;
}

/**
 * A conversation for a template without tools: they are listed in the system message, and calls and their
 * results are told as text.
 */
export function* withToolsAsText(
  messages: readonly ChatMessage[],
  listing: ToolListing | null,
): Generator<void, ChatMessage[]> {
  const told: ChatMessage[] = [];
  for (const message of messages) {
    yield;
    const next = message.role === "tool" ? resultAsText(message) : yield* callsAsText(message);
    const last = told.at(-1);
    // Templates want turns to alternate: results that come together are one message.
    if (message.role === "tool" && last?.role === "user") told.splice(-1, 1, joined(last, next));
    else told.push(next);
  }
  if (listing === null) return told;
  const instructions: ChatMessage = { role: "system", content: yield* toolPrompt(listing) };
  const [first, ...rest] = told;
  if (instructs(first)) return [joined(first, instructions), ...rest];
  return [instructions, ...told];
}

/** The same for a template that refuses system messages: the first user message says it all. */
export function withoutSystem(messages: readonly ChatMessage[]): ChatMessage[] {
  const [system, user, ...rest] = messages;
  if (!instructs(system) || user?.role !== "user") return [...messages];
  return [{ ...joined(system, user), role: "user" }, ...rest];
}

function instructs(message: ChatMessage | undefined): message is ChatMessage {
  return message?.role === "system" || message?.role === "developer";
}

/** Arguments as the object that templates expect; clients send them as JSON text. */
export function* withArgumentObjects(
  messages: readonly ChatMessage[],
): Generator<void, ChatMessage[]> {
  const told: ChatMessage[] = [];
  for (const message of messages) {
    yield;
    if (!Array.isArray(message.tool_calls)) {
      told.push(message);
      continue;
    }
    const calls: object[] = [];
    for (const call of message.tool_calls as readonly Call[]) calls.push(yield* withObject(call));
    told.push({ ...message, tool_calls: calls });
  }
  return told;
}

function* toolPrompt({ tools, required, parallel }: ToolListing): Generator<void, string> {
  const lines: string[] = [];
  for (const tool of tools) lines.push(yield* jsonText((tool as { function: object }).function));
  return [
    "You can call these functions:",
    ...lines,
    `To call ${parallel ? "functions, answer with one JSON object per line" : "a function, answer with a JSON object"} and nothing else: {"name": "NAME", "arguments": {...}}`,
    required ? "Answer with a call." : "Answer in plain text when no function helps.",
  ].join("\n");
}

interface Call {
  readonly function: { readonly name: string; readonly arguments: string };
}

function* callsAsText({ tool_calls, ...message }: ChatMessage): Generator<void, ChatMessage> {
  if (!Array.isArray(tool_calls)) return message;
  const lines: string[] = [];
  for (const { function: call } of tool_calls as readonly Call[]) {
    const told = { name: call.name, arguments: yield* parsed(call.arguments) };
    lines.push(yield* jsonText(told));
  }
  return { ...message, content: [message.content, ...lines].filter(Boolean).join("\n") };
}

function resultAsText({ content, tool_call_id }: ChatMessage): ChatMessage {
  return { role: "user", content: `Result of ${tool_call_id}: ${content}` };
}

function joined(a: ChatMessage, b: ChatMessage): ChatMessage {
  return { ...a, content: `${a.content}\n\n${b.content}` };
}

function* withObject(call: Call): Generator<void, object> {
  const args = yield* parsed(call.function.arguments);
  return { ...call, function: { ...call.function, arguments: args } };
}

/** Arguments that were cut off are no JSON: they stay text. */
function* parsed(text: string): Generator<void, unknown> {
  try {
    return yield* readJson(Buffer.from(text));
  } catch {
    return text;
  }
}
