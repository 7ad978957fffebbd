import { ApiError } from "../errors.js";
import { anyOf, EbnfError, literal } from "../grammar/ebnf.js";
import { schemaToGrammar } from "../grammar/json-schema.js";
import { SchemaError } from "../grammar/json-schema-fields.js";
import { regexToEbnf } from "../grammar/regex.js";
import { type CompiledGrammar, GrammarError } from "../grammar/service.js";
import type { ApiContext } from "./context.js";
import { type Fields, invalid, isJsonObject, unsupported } from "./schema.js";

/** The fields that bind an answer to a form: OpenAI's response_format, vLLM's guided_*, llama.cpp's grammar. */

/** A grammar and the field that asked for it. */
export interface AskedGrammar {
  readonly text: string;
  readonly param: string;
}

const MOST_CHOICES = 1000;
const LONGEST_GRAMMAR = 200_000;

/** Null when no field asks for one. */
export function parseStructure(fields: Fields): AskedGrammar | null {
  const found = [
    fromResponseFormat(fields.raw("response_format")),
    from(fields, "guided_json", (value) => schemaGrammar(value, "guided_json")),
    from(fields, "guided_regex", regexGrammar),
    from(fields, "guided_choice", choiceGrammar),
    from(fields, "guided_grammar", ebnfGrammar),
    from(fields, "grammar", ebnfGrammar),
    fromStructuredOutputs(fields.raw("structured_outputs")),
  ].filter((grammar) => grammar !== null);
  if (found.length > 1) {
    throw unsupported(found[1]!.param, ` together with ${found[0]!.param}`);
  }
  return found[0] ?? null;
}

/** Throws ApiError that names the field. */
export async function compileGrammar(
  { text, param }: AskedGrammar,
  ignoreEos: boolean,
  context: ApiContext,
): Promise<CompiledGrammar> {
  const { grammars, stopTokens } = context;
  if (grammars === null) throw unsupported(param, `: ${context.noTokenizerReason}`);
  if (stopTokens.size === 0) throw unsupported(param, ": this model has no token that ends a text");
  if (ignoreEos) throw unsupported("ignore_eos", ` together with ${param}`);
  try {
    return await grammars.compile(text);
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    if (error.kind === "busy") throw new ApiError("overloaded", { cause: error });
    const message = `${param} cannot be compiled: ${error.message}.`;
    throw new ApiError("invalid_parameter", { message, param, cause: error });
  }
}

function from(
  fields: Fields,
  param: string,
  toGrammar: (value: unknown, param: string) => string,
): AskedGrammar | null {
  const value = fields.raw(param);
  return value === undefined ? null : { text: toGrammar(value, param), param };
}

function fromResponseFormat(value: unknown): AskedGrammar | null {
  const param = "response_format";
  if (value === undefined) return null;
  if (!isJsonObject(value)) throw invalid(param, "an object", value);
  if (value.type === "text") return null;
  if (value.type === "json_object")
    return { text: schemaGrammar({ type: "object" }, param), param };
  if (value.type !== "json_schema") {
    throw invalid(`${param}.type`, `"text", "json_object" or "json_schema"`, value.type);
  }
  const described = value.json_schema;
  if (!isJsonObject(described)) throw invalid(`${param}.json_schema`, "an object", described);
  if (!isJsonObject(described.schema)) {
    throw invalid(`${param}.json_schema.schema`, "an object", described.schema);
  }
  const schemaParam = `${param}.json_schema.schema`;
  return { text: schemaGrammar(described.schema, schemaParam), param: schemaParam };
}

const STRUCTURED: Readonly<Record<string, (value: unknown, param: string) => string>> = {
  json: schemaGrammar,
  regex: regexGrammar,
  choice: choiceGrammar,
  grammar: ebnfGrammar,
  json_object: (value, param) => {
    if (value !== true) throw invalid(param, "true", value);
    return schemaGrammar({ type: "object" }, param);
  },
};

/** vLLM's newer name for its guided_* fields. */
function fromStructuredOutputs(value: unknown): AskedGrammar | null {
  if (value === undefined) return null;
  if (!isJsonObject(value)) throw invalid("structured_outputs", "an object", value);
  const keys = Object.keys(value).filter((key) => value[key] !== null);
  const key = keys[0];
  const toGrammar = key !== undefined && Object.hasOwn(STRUCTURED, key) ? STRUCTURED[key] : null;
  if (keys.length !== 1 || !toGrammar) {
    throw invalid("structured_outputs", `an object with one of ${Object.keys(STRUCTURED)}`, value);
  }
  const param = `structured_outputs.${key}`;
  return { text: toGrammar(value[key!], param), param };
}

/** A schema as an object, or as JSON text. */
function schemaGrammar(value: unknown, param: string): string {
  try {
    return schemaToGrammar(typeof value === "string" ? parsedSchema(value, param) : value);
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    throw unsupported(`${param}${error.path}`, `: ${error.message}`);
  }
}

function parsedSchema(text: string, param: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalid(param, "a JSON Schema", text);
  }
}

function regexGrammar(value: unknown, param: string): string {
  if (typeof value !== "string" || value === "")
    throw invalid(param, "a regular expression", value);
  try {
    return `root ::= ${regexToEbnf(value)}`;
  } catch (error) {
    if (!(error instanceof EbnfError)) throw error;
    throw unsupported(param, `: ${error.message}`);
  }
}

function choiceGrammar(value: unknown, param: string): string {
  const isText = (choice: unknown) => typeof choice === "string" && choice !== "";
  if (!Array.isArray(value) || value.length === 0 || !value.every(isText)) {
    throw invalid(param, "an array of texts, none of them empty", value);
  }
  if (value.length > MOST_CHOICES)
    throw invalid(param, `at most ${MOST_CHOICES} texts`, value.length);
  return `root ::= ${anyOf((value as string[]).map(literal))}`;
}

/** The matcher's own dialect, which reads llama.cpp's. */
function ebnfGrammar(value: unknown, param: string): string {
  if (typeof value !== "string" || value === "") throw invalid(param, "a grammar in EBNF", value);
  if (value.length > LONGEST_GRAMMAR) {
    throw invalid(param, `a grammar of at most ${LONGEST_GRAMMAR} characters`, value.length);
  }
  return value;
}
