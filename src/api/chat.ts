import { ApiError } from "../errors.js";
import { renderContinued } from "../text/continued.js";
import type { ChatMessage, ChatTemplate } from "../text/text.js";
import {
  PLAIN_FORMAT,
  type ToolFormat,
  withArgumentObjects,
  withoutSystem,
  withToolsAsText,
} from "../text/tool-format.js";
import { spread } from "../turns.js";
import { parseAim } from "./auto.js";
import { parseMessages } from "./chat-messages.js";
import type { ApiContext } from "./context.js";
import { ChatEncoder } from "./encode.js";
import { encodeText, refuseLongChat } from "./encode-text.js";
import type { Endpoint } from "./endpoint.js";
import { type Admit, estimateTokens, type Job, type Prompt } from "./job.js";
import {
  COMPLETIONS_ONLY,
  completionBudget,
  MAX_TOP_LOGPROBS,
  parseCommon,
  refuseUnserved,
} from "./parameters.js";
import { type Fields, invalid, unsupported } from "./schema.js";
import { type AskedGrammar, compileGrammar, parseStructure } from "./structured.js";
import { parseTools, type ToolUse, toolGrammar } from "./tools.js";

/** POST /v1/chat/completions */

export const chat: Endpoint = {
  idPrefix: "chatcmpl-",
  operation: "chat",
  framing: "data",
  parse: parseChat,
  encoder: (job, envelope, names) => new ChatEncoder(job, envelope, names),
};

async function parseChat(
  fields: Fields,
  context: ApiContext,
  alwaysStreams: boolean,
  admit: Admit,
): Promise<Job> {
  const aim = parseAim(fields, context);
  const common = parseCommon(fields, context, alwaysStreams);
  refuseUnserved(fields, common.n, COMPLETIONS_ONLY);
  const logprobs = parseLogprobs(fields);
  const newer = fields.integer("max_completion_tokens", { min: 1 });
  const older = fields.integer("max_tokens", { min: 1 });
  const messages = await spread(parseMessages(fields.raw("messages")));
  const tools = parseTools(fields);
  const toolPrompt = parseToolPrompt(fields);
  const format = context.chatTemplate?.toolFormat ?? PLAIN_FORMAT;
  const structure = await spread(
    tools === null ? parseStructure(fields) : toolStructure(fields, tools, format),
  );
  const ending = parseEnding(fields, messages);
  if (ending === "continued" && tools !== null) {
    throw unsupported("continue_final_message", ` together with tools; set tool_choice to "none"`);
  }
  const text = await render(messages, ending, context, toolPrompt ? tools : null);
  admit(common.n, common.n * estimateTokens(text));
  const [grammar, prompt, target] = await Promise.all([
    structure === null ? null : compileGrammar(structure, common.ignoreEos, context),
    tokenize(text, newer ?? older, context),
    aim(messages),
  ]);
  const toolFormat = tools === null ? null : format;
  return { ...common, ...target, prompts: [prompt], logprobs, grammar, toolFormat };
}

function* toolStructure(
  fields: Fields,
  tools: ToolUse,
  format: ToolFormat,
): Generator<unknown, AskedGrammar> {
  const other = yield* parseStructure(fields);
  if (other !== null)
    throw unsupported(other.param, ` together with tools; set tool_choice to "none"`);
  return { text: yield* toolGrammar(tools, format), param: "tools" };
}

/** "none": the model was trained to call these tools and needs no list of them. */
function parseToolPrompt(fields: Fields): boolean {
  const value = fields.string("tool_prompt") ?? "list";
  if (value === "list" || value === "none") return value === "list";
  throw invalid("tool_prompt", `"list" or "none"`, value);
}

/** How a conversation ends: where an answer begins, after the last message, or within it. */
export type Ending = "open" | "closed" | "continued";

export function parseEnding(fields: Fields, messages: readonly ChatMessage[]): Ending {
  const continued = fields.boolean("continue_final_message") ?? false;
  const open = fields.boolean("add_generation_prompt") ?? !continued;
  if (!continued) return open ? "open" : "closed";
  if (open) throw unsupported("continue_final_message", " together with add_generation_prompt");
  if (messages.at(-1)?.tool_calls === undefined) return "continued";
  throw unsupported("continue_final_message", ": the last message calls tools");
}

/** What the model reads. */
export async function render(
  messages: readonly ChatMessage[],
  ending: Ending,
  context: ApiContext,
  tools: ToolUse | null = null,
): Promise<string> {
  const { tokenizer, chatTemplate } = context;
  if (tokenizer === null) throw unsupported("messages", `: ${context.noTokenizerReason}`);
  refuseLongChat(messages, context);
  if (chatTemplate === null) {
    throw unsupported("messages", ": this model has no chat template; use /v1/completions");
  }
  if (ending === "continued") {
    return renderContinued(messages, (marked) => renderWhole(marked, "closed", chatTemplate, null));
  }
  return renderWhole(messages, ending, chatTemplate, tools);
}

async function renderWhole(
  messages: readonly ChatMessage[],
  ending: "open" | "closed",
  chatTemplate: ChatTemplate,
  tools: ToolUse | null,
): Promise<string> {
  const options = { addGenerationPrompt: ending === "open" };
  if (chatTemplate.toolFormat !== null) {
    const listed = tools === null ? {} : { tools: tools.listed };
    const told = await spread(withArgumentObjects(messages));
    return chatTemplate.render(told, { ...options, ...listed });
  }
  const listing = tools === null ? null : { ...tools, tools: tools.listed };
  const told = await spread(withToolsAsText(messages, listing));
  try {
    return await chatTemplate.render(told, options);
  } catch (error) {
    if (tools === null) throw error;
    return chatTemplate.render(withoutSystem(told), options);
  }
}

async function tokenize(
  text: string,
  maxTokens: number | undefined,
  context: ApiContext,
): Promise<Prompt> {
  const ids = await encodeText(text, "messages", context);
  const window = context.maxModelLen;
  const budget = completionBudget(ids.length, maxTokens, window, context, "messages");
  return { ids, echo: null, maxTokens: budget };
}

function parseLogprobs(fields: Fields): number | null {
  const asked = fields.boolean("logprobs") ?? false;
  const top = fields.integer("top_logprobs", { min: 0, max: MAX_TOP_LOGPROBS });
  if (asked) return top ?? 0;
  if (top === undefined || top === 0) return null;
  const message = "top_logprobs is only allowed when logprobs is true.";
  throw new ApiError("invalid_parameter", { message, param: "top_logprobs" });
}
