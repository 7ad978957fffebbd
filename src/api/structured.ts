import { ApiError } from "../errors.js";
import { anyOf, EbnfError, literal } from "../grammar/ebnf.js";
import { schemaToGrammar } from "../grammar/json-schema.js";
import { SchemaError } from "../grammar/json-schema-fields.js";
import { regexToEbnf } from "../grammar/regex.js";
import { type CompiledGrammar, GrammarError } from "../grammar/service.js";
import { readJson, TooManyError } from "../json/read.js";
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
const LONGEST_SCHEMA = 1 << 20; // as a text

/** Work that writes a grammar, and may be long. */
type Writing<Result = string> = Generator<unknown, Result>;

/** Null when no field asks for one. */
export function* parseStructure(fields: Fields): Writing<AskedGrammar | null> {
  const found = [
    yield* fromResponseFormat(fields.raw("response_format")),
    yield* from(fields, "guided_json", schemaGrammar),
    yield* from(fields, "guided_regex", regexGrammar),
    yield* from(fields, "guided_choice", choiceGrammar),
    yield* from(fields, "guided_grammar", ebnfGrammar),
    yield* from(fields, "grammar", ebnfGrammar),
    yield* fromStructuredOutputs(fields.raw("structured_outputs")),
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

type GrammarWriting = (value: unknown, param: string) => Writing;

function* from(
  fields: Fields,
  param: string,
  toGrammar: GrammarWriting,
): Writing<AskedGrammar | null> {
  const value = fields.raw(param);
  return value === undefined ? null : { text: yield* toGrammar(value, param), param };
}

function* fromResponseFormat(value: unknown): Writing<AskedGrammar | null> {
  const param = "response_format";
  if (value === undefined) return null;
  if (!isJsonObject(value)) throw invalid(param, "an object", value);
  if (value.type === "text") return null;
  if (value.type === "json_object")
    return { text: yield* schemaGrammar({ type: "object" }, param), param };
  if (value.type !== "json_schema") {
    throw invalid(`${param}.type`, `"text", "json_object" or "json_schema"`, value.type);
  }
  const described = value.json_schema;
  if (!isJsonObject(described)) throw invalid(`${param}.json_schema`, "an object", described);
  if (!isJsonObject(described.schema)) {
    throw invalid(`${param}.json_schema.schema`, "an object", described.schema);
  }
  const schemaParam = `${param}.json_schema.schema`;
  return { text: yield* schemaGrammar(described.schema, schemaParam), param: schemaParam };
}

const STRUCTURED: Readonly<Record<string, GrammarWriting>> = {
  json: schemaGrammar,
  regex: regexGrammar,
  choice: choiceGrammar,
  grammar: ebnfGrammar,
  *json_object(value, param) {
    if (value !== true) throw invalid(param, "true", value);
    return yield* schemaGrammar({ type: "object" }, param);
  },
};

/** vLLM's newer name for its guided_* fields. */
function* fromStructuredOutputs(value: unknown): Writing<AskedGrammar | null> {
  if (value === undefined) return null;
  if (!isJsonObject(value)) throw invalid("structured_outputs", "an object", value);
  const keys = Object.keys(value).filter((key) => value[key] !== null);
  const key = keys[0];
  const toGrammar = key !== undefined && Object.hasOwn(STRUCTURED, key) ? STRUCTURED[key] : null;
  if (keys.length !== 1 || !toGrammar) {
    throw invalid("structured_outputs", `an object with one of ${Object.keys(STRUCTURED)}`, value);
  }
  const param = `structured_outputs.${key}`;
  return { text: yield* toGrammar(value[key!], param), param };
}

/** A schema as an object, or as JSON text. */
function* schemaGrammar(value: unknown, param: string): Writing {
  try {
    const schema = typeof value === "string" ? yield* parsedSchema(value, param) : value;
    return yield* schemaToGrammar(schema);
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    throw unsupported(`${param}${error.path}`, `: ${error.message}`);
  }
}

function* parsedSchema(text: string, param: string): Writing<unknown> {
  if (text.length > LONGEST_SCHEMA) {
    throw invalid(param, `a JSON Schema of at most ${LONGEST_SCHEMA} characters`, text.length);
  }
  try {
    return yield* readJson(Buffer.from(text));
  } catch (error) {
    if (error instanceof TooManyError) throw unsupported(param, `: ${error.message}`);
    throw invalid(param, "a JSON Schema", text);
  }
}

function* regexGrammar(value: unknown, param: string): Writing {
  if (typeof value !== "string" || value === "")
    throw invalid(param, "a regular expression", value);
  try {
    return `root ::= ${yield* regexToEbnf(value)}`;
  } catch (error) {
    if (!(error instanceof EbnfError)) throw error;
    throw unsupported(param, `: ${error.message}`);
  }
}

function* choiceGrammar(value: unknown, param: string): Writing {
  const isText = (choice: unknown) => typeof choice === "string" && choice !== "";
  if (Array.isArray(value) && value.length > MOST_CHOICES) {
    throw invalid(param, `at most ${MOST_CHOICES} texts`, value.length);
  }
  if (!Array.isArray(value) || value.length === 0 || !value.every(isText)) {
    throw invalid(param, "an array of texts, none of them empty", value);
  }
  const choices = value as string[];
  const characters = choices.reduce((sum, { length }) => sum + length, 0);
  if (characters > LONGEST_GRAMMAR) {
    throw invalid(param, `texts of at most ${LONGEST_GRAMMAR} characters together`, characters);
  }
  const ways: string[] = [];
  for (const choice of choices) {
    ways.push(literal(choice));
    yield;
  }
  return `root ::= ${anyOf(ways)}`;
}

/** The matcher's own dialect, which reads llama.cpp's. */
function* ebnfGrammar(value: unknown, param: string): Writing {
  yield;
  if (typeof value !== "string" || value === "") throw invalid(param, "a grammar in EBNF", value);
  if (value.length > LONGEST_GRAMMAR) {
    throw invalid(param, `a grammar of at most ${LONGEST_GRAMMAR} characters`, value.length);
  }
  return value;
}
