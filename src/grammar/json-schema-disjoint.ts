import { jsonPieces } from "../json/write.js";
import type { Schema } from "./json-schema-fields.js";

/** Compared in pairs; those that are constants all alike may be more. */
const MOST_COMPARED = 256;
/** Required properties of a schema that are looked at. */
const MOST_REQUIRED = 64;
const MOST_REFERENCES = 8;

/**
 * Whether no value fits two of several schemas, as far as can be seen at once: they differ in type, or
 * in the constants that a property required by both may have. Only then is oneOf the same as anyOf.
 */
export function* areDisjoint(
  branches: readonly unknown[],
  resolve: (ref: unknown) => unknown,
): Generator<void, boolean> {
  const schemas: Looked[] = [];
  for (const branch of branches) {
    schemas.push(new Looked(followed(branch, resolve), resolve));
    yield;
  }
  if (schemas.every(({ constants }) => constants !== null)) return yield* noneTwice(schemas);
  if (schemas.length > MOST_COMPARED) return false;
  for (const [i, schema] of schemas.entries()) {
    for (const other of schemas.slice(i + 1)) {
      if (!differ(schema, other)) return false;
      yield;
    }
  }
  return true;
}

function* noneTwice(schemas: readonly Looked[]): Generator<void, boolean> {
  const seen = new Set<string>();
  for (const { constants } of schemas) {
    for (const constant of constants!) {
      if (seen.has(constant)) return false;
      seen.add(constant);
    }
    yield;
  }
  return true;
}

/** What a schema says of its values, as far as it is looked at. */
class Looked {
  readonly constants: ReadonlySet<string> | null;
  /** An integer is a number too. */
  readonly types: ReadonlySet<string> | null;
  readonly required: ReadonlySet<string>;
  readonly #properties: Schema;
  readonly #resolve: (ref: unknown) => unknown;
  readonly #constantsOf = new Map<string, ReadonlySet<string> | null>();

  constructor(schema: Schema, resolve: (ref: unknown) => unknown) {
    this.constants = constantsOf(schema);
    this.types = typesOf(schema);
    const { properties, required } = schema;
    this.#properties = isObject(properties) ? properties : {};
    const names = Array.isArray(required) ? required.slice(0, MOST_REQUIRED) : [];
    this.required = new Set(names.map(String));
    this.#resolve = resolve;
  }

  constantsIn(name: string): ReadonlySet<string> | null {
    let constants = this.#constantsOf.get(name);
    if (constants === undefined) {
      const has = Object.hasOwn(this.#properties, name);
      constants = constantsOf(followed(has ? this.#properties[name] : null, this.#resolve));
      this.#constantsOf.set(name, constants);
    }
    return constants;
  }
}

function followed(branch: unknown, resolve: (ref: unknown) => unknown): Schema {
  let schema = branch;
  for (let i = 0; i < MOST_REFERENCES && isObject(schema) && schema.$ref !== undefined; i++) {
    schema = resolve(schema.$ref);
  }
  return isObject(schema) ? schema : {};
}

function differ(a: Looked, b: Looked): boolean {
  if (a.constants !== null && b.constants !== null) return noneShared(a.constants, b.constants);
  if (a.types === null || b.types === null) return false;
  if (noneShared(a.types, b.types)) return true;
  if (!isOnlyObject(a.types) || !isOnlyObject(b.types)) return false;
  return [...a.required].some((name) => {
    if (!b.required.has(name)) return false;
    const [inA, inB] = [a.constantsIn(name), b.constantsIn(name)];
    return inA !== null && inB !== null && noneShared(inA, inB);
  });
}

function isOnlyObject(types: ReadonlySet<string>): boolean {
  return types.size === 1 && types.has("object");
}

function noneShared(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  const [few, many] = a.size < b.size ? [a, b] : [b, a];
  for (const item of few) if (many.has(item)) return false;
  return true;
}

/** Null: not all of its values are listed, or they are more than is worth a look. */
function constantsOf(schema: Schema): ReadonlySet<string> | null {
  const values = schema.const !== undefined ? [schema.const] : schema.enum;
  if (!Array.isArray(values) || values.length > MOST_COMPARED) return null;
  const texts = new Set<string>();
  let characters = 0;
  for (const value of values) {
    const text = shortJson(value, LONGEST_CONSTANTS - characters);
    if (text === null) return null;
    characters += text.length;
    texts.add(text);
  }
  return texts;
}

const LONGEST_CONSTANTS = 16 << 10; // of a schema, in characters

/** Null where it is longer. */
function shortJson(value: unknown, most: number): string | null {
  let text = "";
  for (const piece of jsonPieces(value)) {
    text += piece;
    if (text.length > most) return null;
  }
  return text;
}

function typesOf(schema: Schema): ReadonlySet<string> | null {
  const type = schema.type ?? (schema.properties === undefined ? undefined : "object");
  if (type === undefined) return null;
  const types = (Array.isArray(type) ? type.slice(0, MOST_COMPARED) : [type]).map(String);
  return new Set(types.map((name) => (name === "integer" ? "number" : name)));
}

function isObject(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
