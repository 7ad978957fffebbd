import { anyOf, characterClass, complement, GrammarWriter, literal } from "../grammar/ebnf.js";
import { COLON, COMMA, jsonObject } from "../grammar/json.js";
import { schemaToEbnf } from "../grammar/json-schema.js";
import { SchemaError } from "../grammar/json-schema-fields.js";
import type { ToolFormat } from "../text/tool-format.js";
import { type Fields, invalid, isJsonObject, type JsonObject, unsupported } from "./schema.js";

/** `tools`, `tool_choice` and `parallel_tool_calls`: what may be called, and the grammar of calls. */

const MOST_TOOLS = 128;
/** Of one answer: models that begin to repeat themselves would call without end. */
const MOST_CALLS = 16;

interface Tool {
  readonly name: string;
  readonly parameters: unknown; // a JSON Schema
  readonly strict: boolean;
}

export interface ToolUse {
  readonly listed: readonly JsonObject[]; // as they came
  readonly tools: readonly Tool[];
  /** Those that may be called; all but with a named choice. */
  readonly callable: readonly number[];
  readonly required: boolean;
  readonly parallel: boolean;
}

/** Null where the answer is text whatever the tools. */
export function parseTools(fields: Fields): ToolUse | null {
  const listed = fields.raw("tools") ?? [];
  const choice = fields.raw("tool_choice") ?? "auto";
  const parallel = fields.boolean("parallel_tool_calls") ?? true;
  if (!Array.isArray(listed)) throw invalid("tools", "an array", listed);
  if (listed.length > MOST_TOOLS)
    throw invalid("tools", `at most ${MOST_TOOLS} tools`, listed.length);
  const tools = listed.map((tool: unknown, i) => parseTool(tool, `tools[${i}]`));
  tools.forEach(({ name }, i) => {
    const first = tools.findIndex((other) => other.name === name);
    if (first !== i) throw invalid(`tools[${i}].function.name`, "a name of its own", name);
  });
  const named = parseChoice(choice, tools);
  if (tools.length === 0) {
    if (named === null && (choice === "auto" || choice === "none")) return null;
    throw invalid("tools", `an array of at least one tool for this tool_choice`, listed);
  }
  if (choice === "none") return null;
  return {
    listed,
    tools,
    callable: named === null ? [...tools.keys()] : [named],
    required: choice !== "auto",
    parallel: parallel && named === null,
  };
}

function parseTool(tool: unknown, param: string): Tool {
  if (!isJsonObject(tool)) throw invalid(param, "an object", tool);
  if (tool.type !== "function") throw invalid(`${param}.type`, `"function"`, tool.type);
  const described = tool.function;
  if (!isJsonObject(described)) throw invalid(`${param}.function`, "an object", described);
  const { name, parameters, strict, description } = described;
  if (typeof name !== "string" || !/^[A-Za-z0-9_-]{1,64}$/.test(name)) {
    throw invalid(`${param}.function.name`, "1 to 64 letters, digits, _ or -", name);
  }
  if (description !== undefined && description !== null && typeof description !== "string") {
    throw invalid(`${param}.function.description`, "a string", description);
  }
  if (parameters !== undefined && parameters !== null && !isJsonObject(parameters)) {
    throw invalid(`${param}.function.parameters`, "an object", parameters);
  }
  if (strict !== undefined && strict !== null && typeof strict !== "boolean") {
    throw invalid(`${param}.function.strict`, "true or false", strict);
  }
  const schema = parameters ?? { type: "object", properties: {} };
  return { name, parameters: schema, strict: strict === true };
}

/** The place of the tool that has to be called, where one is named. */
function parseChoice(choice: unknown, tools: readonly Tool[]): number | null {
  if (choice === "auto" || choice === "none" || choice === "required") return null;
  const wanted = `"none", "auto", "required" or {"type": "function", "function": {"name": ...}}`;
  if (!isJsonObject(choice) || choice.type !== "function" || !isJsonObject(choice.function)) {
    throw invalid("tool_choice", wanted, choice);
  }
  const { name } = choice.function;
  const place = tools.findIndex((tool) => tool.name === name);
  if (place < 0) throw invalid("tool_choice.function.name", "the name of one of tools", name);
  return place;
}

/** Whether an answer is a call shows in its first character. */
export function triggerOf({ open }: ToolFormat): string {
  return open === "" ? "{" : open[0]!;
}

/** The grammar of an answer with calls, or with text in their place where none is required. */
export function* toolGrammar(use: ToolUse, format: ToolFormat): Generator<void, string> {
  try {
    return yield* callsGrammar(use, format);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw unsupported("tools", `: ${error.message}`);
  }
}

function* callsGrammar(use: ToolUse, format: ToolFormat): Generator<void, string> {
  const writer = new GrammarWriter();
  const key = literal(JSON.stringify(format.argumentsKey));
  const objects: string[] = [];
  for (const i of use.callable) {
    const { name } = use.tools[i]!;
    const head = `"{" ${literal('"name"')} ${COLON} ${literal(JSON.stringify(name))}`;
    const args = yield* argumentsOf(use.tools[i]!, i, writer);
    objects.push(`${head} ${COMMA} ${key} ${COLON} ${args} "}"`);
  }
  const call = writer.rule(`${literal(format.open)} ${anyOf(objects)} ${literal(format.close)}`);
  const calls = use.parallel ? `${call} (${literal("\n")} ${call}){0,${MOST_CALLS - 1}}` : call;
  if (use.required) return yield* writer.text(calls);
  const trigger = triggerOf(format).codePointAt(0)!;
  const first = characterClass(
    complement([
      [9, 13],
      [32, 32],
      [trigger, trigger],
    ]),
  );
  return yield* writer.text(`${calls} | (${first} ${characterClass(complement([]))}*)?`);
}

/** Held to their schema where it can be; without `strict`, any object where it cannot. */
function* argumentsOf(tool: Tool, index: number, writer: GrammarWriter): Generator<void, string> {
  const param = `tools[${index}].function.parameters`;
  const before = writer.size;
  try {
    const { type, properties } = tool.parameters as JsonObject;
    if (type !== "object" && (type !== undefined || properties === undefined)) {
      throw new SchemaError(".type", `must be "object"`);
    }
    return writer.rule(yield* schemaToEbnf(tool.parameters, writer, String(index)));
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    if (!tool.strict) {
      writer.cut(before); // others may need the room
      return jsonObject(writer);
    }
    throw unsupported(`${param}${error.path}`, `: ${error.message}`);
  }
}
