import { anyOf, EbnfError, GrammarWriter, literal } from "./ebnf.js";
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
  jsonString,
  jsonValue,
  LARGEST_INTEGER,
  listed,
  quoted,
} from "./json.js";
import { areDisjoint } from "./json-schema-disjoint.js";
import {
  beside,
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
export function schemaToGrammar(schema: unknown): string {
  const writer = new GrammarWriter();
  return writer.text(schemaToEbnf(schema, writer, ""));
}

/** The values of a schema as an EBNF expression among the rules of `writer`; `scope` names its rules. */
export function schemaToEbnf(schema: unknown, writer: GrammarWriter, scope: string): string {
  try {
    return new Converter(schema, writer, scope).convert(schema, NOWHERE);
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

  constructor(root: unknown, writer: GrammarWriter, scope: string) {
    this.#root = root;
    this.#writer = writer;
    this.#scope = scope;
  }

  convert(schema: unknown, place: Place): string {
    if (place.depth > DEEPEST) throw new SchemaError(place.path, `nested over ${DEEPEST} deep`);
    if (++this.#nodes > MOST_NODES) throw new SchemaError("", `more than ${MOST_NODES} parts`);
    if (schema === true) return jsonValue(this.#writer);
    if (schema === false) throw new SchemaError(place.path, "false allows no value");
    if (!isSchema(schema)) throw new SchemaError(place.path, "a schema must be an object");
    const whole = WHOLE.filter((keyword) => schema[keyword] !== undefined);
    if (whole.length === 0) return this.#byType(schema, place);
    const [keyword] = whole as [(typeof WHOLE)[number]];
    const isLiteral = keyword === "enum" || keyword === "const";
    refuseOthers(schema, [keyword, ...(isLiteral ? ["type"] : [])], place, `beside ${keyword}`);
    switch (keyword) {
      case "$ref":
        return this.#reference(schema.$ref, place);
      case "const":
        return literals([schema.const], schema, place, "const");
      case "enum":
        return literals(schema.enum, schema, place, "enum");
      default:
        return this.#combination(schema, keyword, place);
    }
  }

  #combination(schema: Schema, keyword: "anyOf" | "oneOf" | "allOf", place: Place): string {
    const branches = schema[keyword];
    const at = beside(place, keyword);
    if (!Array.isArray(branches) || branches.length === 0) {
      throw new SchemaError(at.path, "must be an array of at least one schema");
    }
    if (keyword === "allOf" && branches.length > 1) {
      throw new SchemaError(at.path, "allOf of more than one schema is not supported");
    }
    if (keyword === "oneOf" && !areDisjoint(branches, (ref) => this.#resolve(ref, at))) {
      const how = "differ in type or in the const or enum of a required property; or use anyOf";
      throw new SchemaError(at.path, `oneOf is supported where its schemas ${how}`);
    }
    return anyOf(branches.map((branch: unknown, i) => this.convert(branch, beside(at, i))));
  }

  #reference(ref: unknown, place: Place): string {
    const at = beside(place, "$ref");
    const target = this.#resolve(ref, at);
    const name = `ref${this.#scope}_${Buffer.from(ref as string).toString("hex")}`;
    if (place.entered.includes(name)) throw new SchemaError(at.path, "refers to itself");
    const entered = [...place.entered, name];
    return this.#writer.shared(name, () =>
      this.convert(target, { path: ref as string, depth: place.depth + 1, entered }),
    );
  }

  #resolve(ref: unknown, { path }: Place): unknown {
    if (typeof ref !== "string" || !/^#(\/|$)/.test(ref)) {
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

  #byType(schema: Schema, place: Place): string {
    const types = typesOf(schema, place);
    const allowed = (types ?? []).flatMap((type) => KEYWORDS[type]);
    const why = types === null ? `without a "type"` : `for type ${types.join(", ")}`;
    refuseOthers(schema, ["type", ...allowed], place, why);
    if (types === null) return jsonValue(this.#writer);
    return anyOf(types.map((type) => this.#typed(type, schema, place)));
  }

  #typed(type: Type, schema: Schema, place: Place): string {
    switch (type) {
      case "string":
        return this.#string(schema, place);
      case "number":
      case "integer":
        return this.#number(type, schema, place);
      case "boolean":
        return `("true" | "false")`;
      case "null":
        return `"null"`;
      case "object":
        return this.#object(schema, place);
      case "array":
        return this.#array(schema, place);
    }
  }

  #string(schema: Schema, place: Place): string {
    const { pattern, format } = schema;
    const { min, max } = size(schema, "minLength", "maxLength", place);
    if (pattern === undefined && format === undefined) return jsonString(this.#writer, min, max);
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
      return this.#writer.rule(quoted(regexToEbnf(source, jsonCharacterOrFail)));
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

  #object(schema: Schema, place: Place): string {
    const { properties, required, additionalProperties: others } = schema;
    if (properties === undefined) return this.#map(schema, place);
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
    const names = requiredNames(required, place);
    for (const name of names) {
      if (Object.hasOwn(properties, name)) continue;
      throw new SchemaError(beside(place, "required").path, `"${name}" is not among properties`);
    }
    const parts = Object.entries(properties).map(([name, value]) => ({
      name,
      value: this.#writer.rule(this.convert(value, inside(place, "properties", name))),
      required: names.has(name),
    }));
    return this.#writer.rule(jsonProperties(this.#writer, parts));
  }

  /** An object whose property names are free. */
  #map(schema: Schema, place: Place): string {
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
    const value = this.convert(others ?? true, inside(place, "additionalProperties"));
    return this.#writer.rule(jsonMap(this.#writer, this.#writer.rule(value), min, max));
  }

  #array(schema: Schema, place: Place): string {
    const { min, max } = size(schema, "minItems", "maxItems", place);
    const { items, prefixItems } = schema;
    const item = () => this.#writer.rule(this.convert(items ?? true, inside(place, "items")));
    if (prefixItems === undefined) {
      if (items !== false) return this.#writer.rule(jsonArray(item(), min, max));
      if (min > 0) throw new SchemaError(place.path, "allows no array");
      return `"[]"`;
    }
    if (!Array.isArray(prefixItems) || prefixItems.length === 0) {
      throw new SchemaError(beside(place, "prefixItems").path, "must be an array of schemas");
    }
    const count = prefixItems.length;
    if (max < count) throw new SchemaError(place.path, "maxItems is less than its prefixItems");
    const first = prefixItems.map((part: unknown, i) =>
      this.#writer.rule(this.convert(part, inside(place, "prefixItems", i))),
    );
    const fixed = first.join(` ${COMMA} `);
    const rest = Math.max(min - count, 0);
    const closed = items === undefined || items === false;
    if (closed && rest > 0)
      throw new SchemaError(place.path, "minItems is more than its prefixItems");
    if (closed || max === count) return this.#writer.rule(`"[" ${fixed} "]"`);
    const more = `${COMMA} ${listed(item(), Math.max(rest, 1), max - count)}`;
    return this.#writer.rule(`"[" ${fixed} ${rest > 0 ? more : `(${more})?`} "]"`);
  }
}

function literals(values: unknown, schema: Schema, place: Place, keyword: string): string {
  const at = beside(place, keyword);
  if (!Array.isArray(values)) throw new SchemaError(at.path, "must be an array");
  const types = typesOf({ type: schema.type }, place);
  const fitting = values.filter((value) => types === null || types.some((t) => hasType(value, t)));
  if (fitting.length === 0) throw new SchemaError(at.path, "allows no value");
  const texts = [...new Set(fitting.map((value) => JSON.stringify(value)))];
  if (texts.reduce((sum, text) => sum + text.length, 0) > MOST_ENUM_CHARACTERS) {
    throw new SchemaError(at.path, `is longer than ${MOST_ENUM_CHARACTERS} characters`);
  }
  return anyOf(texts.map(literal));
}

/** The smallest integer above a bound. */
function above(bound: number | undefined): number | undefined {
  return bound === undefined ? undefined : Math.floor(bound) + 1;
}

function below(bound: number | undefined): number | undefined {
  return bound === undefined ? undefined : Math.ceil(bound) - 1;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function jsonCharacterOrFail(ranges: Parameters<typeof jsonCharacter>[0]): string {
  const text = jsonCharacter(ranges);
  if (text === null) throw new RegexError("a control character is not supported");
  return text;
}
