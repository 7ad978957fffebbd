import { jsonPieces } from "../json/write.js";
import { anyOf, EbnfError, GrammarWriter, literal, MAX_CHARACTERS } from "./ebnf.js";
import {
  COMMA,
  jsonArray,
  jsonCharacter,
  jsonInteger,
  jsonIntegerRange,
  jsonMap,
  jsonNumber,
  jsonNumberRange,
  jsonObject,
  jsonProperties,
  jsonStringOf,
  jsonValue,
  LARGEST_INTEGER,
  listed,
  type Property,
  quoted,
} from "./json.js";
import { areDisjoint } from "./json-schema-disjoint.js";
import {
  above,
  below,
  beside,
  decode,
  hasType,
  inside,
  isSchema,
  numberField,
  type Place,
  refuseOthers,
  requiredNames,
  type Schema,
  SchemaError,
  size,
  type Type,
  typesOf,
} from "./json-schema-fields.js";
import { FORMATS } from "./json-schema-formats.js";
import { RegexError, regexToEbnf } from "./regex.js";

const DEEPEST = 64;
const MOST_NODES = 4000;
const MOST_ENUM_CHARACTERS = 100_000;
const LONGEST_REFERENCE = 4096;
const TOO_LONG = `the grammar has more than ${MAX_CHARACTERS} characters`;

/** Restricting keywords per type. */
const KEYWORDS: Readonly<Record<Type, readonly string[]>> = {
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum"],
  integer: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  boolean: [],
  null: [],
  object: ["properties", "required", "additionalProperties", "minProperties", "maxProperties"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
};

/** Keywords that say everything by themselves: no other restriction may stand beside them. */
const WHOLE = ["$ref", "anyOf", "oneOf", "allOf", "enum", "const"] as const;

/**
 * The values of a schema as a whole grammar. It allows no value that the schema forbids; where the two cannot be
 * made equal it allows fewer (properties in their order, none but those named, patterns from the first
 * character to the last). A keyword that cannot be held is refused by name, never ignored. Throws SchemaError.
 */
export function* schemaToGrammar(schema: unknown): Generator<void, string> {
  const writer = new GrammarWriter();
  return yield* writer.text(yield* schemaToEbnf(schema, writer, ""));
}

/** The values of a schema as an EBNF expression among the rules of `writer`; `scope` names its rules. */
export function* schemaToEbnf(
  schema: unknown,
  writer: GrammarWriter,
  scope: string,
): Generator<void, string> {
  try {
    return yield* new Converter(schema, writer, scope).convert(schema, NOWHERE);
  } catch (error) {
    if (error instanceof RangeError) throw new SchemaError("", error.message);
    throw error;
  }
}

const NOWHERE: Place = { path: "", depth: 0, entered: [] };

class Converter {
  readonly #root: unknown;
  readonly #writer: GrammarWriter;
  readonly #scope: string;
  #nodes = 0;
  #characters = 0; // of constants, which are written where they are

  constructor(root: unknown, writer: GrammarWriter, scope: string) {
    this.#root = root;
    this.#writer = writer;
    this.#scope = scope;
  }

  /** Pauses at each part of the schema. */
  *convert(schema: unknown, place: Place): Generator<void, string> {
    yield;
    if (place.depth > DEEPEST) throw new SchemaError(place.path, `nested over ${DEEPEST} deep`);
    if (++this.#nodes > MOST_NODES) throw new SchemaError("", `more than ${MOST_NODES} parts`);
    if (schema === true) return jsonValue(this.#writer);
    if (schema === false) throw new SchemaError(place.path, "false allows no value");
    if (!isSchema(schema)) throw new SchemaError(place.path, "a schema must be an object");
    const whole = WHOLE.filter((keyword) => schema[keyword] !== undefined);
    if (whole.length === 0) return yield* this.#byType(schema, place);
    const [keyword] = whole as [(typeof WHOLE)[number]];
    const isLiteral = keyword === "enum" || keyword === "const";
    refuseOthers(schema, [keyword, ...(isLiteral ? ["type"] : [])], place, `beside ${keyword}`);
    switch (keyword) {
      case "$ref":
        return yield* this.#reference(schema.$ref, place);
      case "const":
        return yield* this.#literals([schema.const], schema, place, "const");
      case "enum":
        return yield* this.#literals(schema.enum, schema, place, "enum");
      default:
        return yield* this.#combination(schema, keyword, place);
    }
  }

  *#combination(
    schema: Schema,
    keyword: "anyOf" | "oneOf" | "allOf",
    place: Place,
  ): Generator<void, string> {
    const branches = schema[keyword];
    const at = beside(place, keyword);
    if (!Array.isArray(branches) || branches.length === 0) {
      throw new SchemaError(at.path, "must be an array of at least one schema");
    }
    refuseMore(branches.length);
    if (keyword === "allOf" && branches.length > 1) {
      throw new SchemaError(at.path, "allOf of more than one schema is not supported");
    }
    if (keyword === "oneOf" && !(yield* areDisjoint(branches, (ref) => this.#resolve(ref, at)))) {
      const how = "differ in type or in the const or enum of a required property; or use anyOf";
      throw new SchemaError(at.path, `oneOf is supported where its schemas ${how}`);
    }
    const ways: string[] = [];
    for (const [i, branch] of branches.entries()) {
      ways.push(yield* this.convert(branch, beside(at, i)));
    }
    return anyOf(ways);
  }

  *#reference(ref: unknown, place: Place): Generator<void, string> {
    const at = beside(place, "$ref");
    const target = this.#resolve(ref, at);
    const name = `ref${this.#scope}_${Buffer.from(ref as string).toString("hex")}`;
    if (place.entered.includes(name)) throw new SchemaError(at.path, "refers to itself");
    const entered = [...place.entered, name];
    if (this.#writer.begin(name)) {
      const inner = { path: ref as string, depth: place.depth + 1, entered };
      this.#writer.define(name, yield* this.convert(target, inner));
    }
    return name;
  }

  #resolve(ref: unknown, { path }: Place): unknown {
    if (typeof ref !== "string" || !/^#(\/|$)/.test(ref) || ref.length > LONGEST_REFERENCE) {
      throw new SchemaError(path, `must point into this schema, as "#/$defs/name" does`);
    }
    let target = this.#root;
    for (const part of ref.split("/").slice(1)) {
      const key = decode(part).replaceAll("~1", "/").replaceAll("~0", "~");
      const found = (isSchema(target) || Array.isArray(target)) && Object.hasOwn(target, key);
      if (!found) throw new SchemaError(path, `there is nothing at ${ref.slice(0, 60)}`);
      target = (target as Schema)[key];
    }
    return target;
  }

  *#byType(schema: Schema, place: Place): Generator<void, string> {
    const types = typesOf(schema, place);
    const allowed = (types ?? []).flatMap((type) => KEYWORDS[type]);
    const why = types === null ? `without a "type"` : `for type ${types.join(", ")}`;
    refuseOthers(schema, ["type", ...allowed], place, why);
    if (types === null) return jsonValue(this.#writer);
    const ways: string[] = [];
    for (const type of types) ways.push(yield* this.#typed(type, schema, place));
    return anyOf(ways);
  }

  *#typed(type: Type, schema: Schema, place: Place): Generator<void, string> {
    switch (type) {
      case "string":
        return yield* this.#string(schema, place);
      case "number":
      case "integer":
        return this.#number(type, schema, place);
      case "boolean":
        return `("true" | "false")`;
      case "null":
        return `"null"`;
      case "object":
        return yield* this.#object(schema, place);
      case "array":
        return yield* this.#array(schema, place);
    }
  }

  *#string(schema: Schema, place: Place): Generator<void, string> {
    const { pattern, format } = schema;
    const { min, max } = size(schema, "minLength", "maxLength", place);
    if (pattern === undefined && format === undefined) {
      return yield* jsonStringOf(this.#writer, min, max);
    }
    const others = ["minLength", "maxLength", "pattern", "format"].filter(
      (keyword) => schema[keyword] !== undefined,
    );
    if (others.length > 1) {
      throw new SchemaError(place.path, `${others.join(" and ")} are not supported together`);
    }
    const [keyword] = others as ["pattern" | "format"];
    const at = beside(place, keyword);
    const source = keyword === "pattern" ? pattern : FORMATS[String(format)];
    if (typeof source !== "string") {
      const known = Object.keys(FORMATS).join(", ");
      const wanted = keyword === "pattern" ? "must be a string" : `must be one of ${known}`;
      throw new SchemaError(at.path, wanted);
    }
    try {
      return this.#writer.rule(quoted(yield* regexToEbnf(source, jsonCharacterOrFail)));
    } catch (error) {
      if (error instanceof EbnfError) throw new SchemaError(at.path, error.message);
      throw error;
    }
  }

  #number(type: "number" | "integer", schema: Schema, place: Place): string {
    const bound = (keyword: string) => numberField(schema, keyword, place);
    const lows = [bound("minimum"), above(bound("exclusiveMinimum"))];
    const highs = [bound("maximum"), below(bound("exclusiveMaximum"))];
    if ([...lows, ...highs].every((value) => value === undefined)) {
      return type === "integer" ? jsonInteger(this.#writer) : jsonNumber(this.#writer);
    }
    if (type === "number") {
      for (const keyword of ["minimum", "maximum"]) {
        if (Number.isInteger(bound(keyword) ?? 0)) continue;
        throw new SchemaError(beside(place, keyword).path, "must be an integer");
      }
    }
    const low = Math.ceil(Math.max(...lows.map((value) => value ?? -LARGEST_INTEGER)));
    const high = Math.floor(Math.min(...highs.map((value) => value ?? LARGEST_INTEGER)));
    if (low > high) throw new SchemaError(place.path, "its bounds allow no number");
    if (low < -LARGEST_INTEGER || high > LARGEST_INTEGER) {
      throw new SchemaError(place.path, "bounds may have 15 digits at most");
    }
    const range = type === "integer" ? jsonIntegerRange : jsonNumberRange;
    return this.#writer.rule(range(low, high));
  }

  *#object(schema: Schema, place: Place): Generator<void, string> {
    const { properties, required, additionalProperties: others } = schema;
    if (properties === undefined) return yield* this.#map(schema, place);
    if (!isSchema(properties))
      throw new SchemaError(`${place.path}.properties`, "must be an object");
    for (const keyword of ["minProperties", "maxProperties"]) {
      if (schema[keyword] === undefined) continue;
      throw new SchemaError(place.path, `${keyword} is not supported beside properties`);
    }
    if (others !== undefined && others !== false) {
      const message =
        "is not supported beside properties (a name could come twice): set it to false";
      throw new SchemaError(beside(place, "additionalProperties").path, message);
    }
    const entries = Object.entries(properties);
    refuseMore(entries.length);
    if (entries.reduce((sum, [name]) => sum + name.length, 0) > MOST_ENUM_CHARACTERS) {
      const message = `has names of more than ${MOST_ENUM_CHARACTERS} characters`;
      throw new SchemaError(beside(place, "properties").path, message);
    }
    const names = requiredNames(required, place);
    for (const name of names) {
      if (Object.hasOwn(properties, name)) continue;
      throw new SchemaError(beside(place, "required").path, `"${name}" is not among properties`);
    }
    const parts: Property[] = [];
    for (const [name, value] of entries) {
      const converted = yield* this.convert(value, inside(place, "properties", name));
      parts.push({ name, value: this.#writer.rule(converted), required: names.has(name) });
    }
    return this.#writer.rule(yield* jsonProperties(this.#writer, parts));
  }

  /** An object whose property names are free. */
  *#map(schema: Schema, place: Place): Generator<void, string> {
    const { min, max } = size(schema, "minProperties", "maxProperties", place);
    const { additionalProperties: others, required } = schema;
    if (requiredNames(required, place).size > 0) {
      throw new SchemaError(beside(place, "required").path, "is not supported without properties");
    }
    if (min > 1) {
      const message = "above 1 is not supported without properties (a name could come twice)";
      throw new SchemaError(beside(place, "minProperties").path, message);
    }
    if (others === false) {
      if (min > 0) throw new SchemaError(place.path, "allows no object");
      return `"{}"`;
    }
    const bounded = min > 0 || max !== Infinity;
    if (!bounded && (others === undefined || others === true)) return jsonObject(this.#writer);
    const value = yield* this.convert(others ?? true, inside(place, "additionalProperties"));
    return this.#writer.rule(jsonMap(this.#writer, this.#writer.rule(value), min, max));
  }

  *#array(schema: Schema, place: Place): Generator<void, string> {
    const { min, max } = size(schema, "minItems", "maxItems", place);
    const { items, prefixItems } = schema;
    if (prefixItems === undefined) {
      if (items !== false) {
        return this.#writer.rule(jsonArray(yield* this.#item(items, place), min, max));
      }
      if (min > 0) throw new SchemaError(place.path, "allows no array");
      return `"[]"`;
    }
    if (!Array.isArray(prefixItems) || prefixItems.length === 0) {
      throw new SchemaError(beside(place, "prefixItems").path, "must be an array of schemas");
    }
    const count = prefixItems.length;
    refuseMore(count);
    if (max < count) throw new SchemaError(place.path, "maxItems is less than its prefixItems");
    const first: string[] = [];
    for (const [i, part] of prefixItems.entries()) {
      const converted = yield* this.convert(part, inside(place, "prefixItems", i));
      first.push(this.#writer.rule(converted));
    }
    const fixed = first.join(` ${COMMA} `);
    const rest = Math.max(min - count, 0);
    const closed = items === undefined || items === false;
    if (closed && rest > 0)
      throw new SchemaError(place.path, "minItems is more than its prefixItems");
    if (closed || max === count) return this.#writer.rule(`"[" ${fixed} "]"`);
    const more = `${COMMA} ${listed(yield* this.#item(items, place), Math.max(rest, 1), max - count)}`;
    return this.#writer.rule(`"[" ${fixed} ${rest > 0 ? more : `(${more})?`} "]"`);
  }

  *#literals(
    values: unknown,
    schema: Schema,
    place: Place,
    keyword: string,
  ): Generator<void, string> {
    const at = beside(place, keyword);
    if (!Array.isArray(values)) throw new SchemaError(at.path, "must be an array");
    const types = typesOf({ type: schema.type }, place);
    const texts = new Set<string>();
    let characters = 0;
    for (const value of values) {
      if (types !== null && !types.some((type) => hasType(value, type))) continue;
      let text = "";
      for (const piece of jsonPieces(value)) {
        text += piece;
        if (characters + text.length > MOST_ENUM_CHARACTERS) {
          throw new SchemaError(at.path, `is longer than ${MOST_ENUM_CHARACTERS} characters`);
        }
        yield;
      }
      if (!texts.has(text)) characters += text.length;
      texts.add(text);
    }
    if (texts.size === 0) throw new SchemaError(at.path, "allows no value");
    const ways: string[] = [];
    for (const text of texts) {
      const way = literal(text);
      this.#characters += way.length;
      if (this.#characters > MAX_CHARACTERS) throw new SchemaError("", TOO_LONG);
      ways.push(way);
      yield;
    }
    return anyOf(ways);
  }

  *#item(items: unknown, place: Place): Generator<void, string> {
    return this.#writer.rule(yield* this.convert(items ?? true, inside(place, "items")));
  }
}

/** Before they are looked at one by one. */
function refuseMore(parts: number): void {
  if (parts > MOST_NODES) throw new SchemaError("", `more than ${MOST_NODES} parts`);
}

function jsonCharacterOrFail(ranges: Parameters<typeof jsonCharacter>[0]): string {
  const text = jsonCharacter(ranges);
  if (text === null) throw new RegexError("a control character is not supported");
  return text;
}
