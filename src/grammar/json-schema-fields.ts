/** What a JSON Schema says, read field by field; whatever is not as it should be throws by its place. */

/** A schema that cannot be held, and where in it. */
export class SchemaError extends Error {
  /** Where, as in `.properties.age`; "" = the schema itself. */
  readonly path: string;

  constructor(path: string, message: string) {
    super(message);
    this.path = path;
  }
}

export type Schema = Readonly<Record<string, unknown>>;

/** Keywords that describe and do not restrict, or are only reached through $ref. */
const NEUTRAL = new Set([
  ...["title", "description", "default", "examples", "example", "deprecated", "readOnly"],
  ...["writeOnly", "$schema", "$id", "$comment", "$defs", "definitions", "discriminator", "strict"],
]);

const MOST_KEYWORDS = 1000;
const MOST_NAMES = 4000;

const TYPES = ["string", "number", "integer", "boolean", "null", "object", "array"] as const;
export type Type = (typeof TYPES)[number];

export interface Place {
  readonly path: string;
  readonly depth: number;
  /** References entered since a character was last consumed: meeting one again would never end. */
  readonly entered: readonly string[];
}

/** A part of the value at `place`. */
export function inside({ path, depth }: Place, ...keys: readonly (string | number)[]): Place {
  return { path: `${path}${keys.map(step).join("")}`, depth: depth + 1, entered: [] };
}

/** The same value, described further. */
export function beside(place: Place, ...keys: readonly (string | number)[]): Place {
  return { ...inside(place, ...keys), entered: place.entered };
}

function step(key: string | number): string {
  return typeof key === "number" ? `[${key}]` : `.${key.slice(0, 60)}`;
}

export function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function refuseOthers(
  schema: Schema,
  allowed: readonly string[],
  place: Place,
  why: string,
): void {
  const keywords = Object.keys(schema);
  if (keywords.length > MOST_KEYWORDS) {
    throw new SchemaError(place.path, `has more than ${MOST_KEYWORDS} keywords`);
  }
  for (const keyword of keywords) {
    if (schema[keyword] === undefined || allowed.includes(keyword)) continue;
    if (NEUTRAL.has(keyword) || keyword.startsWith("x-")) continue;
    throw new SchemaError(
      place.path,
      `the keyword "${keyword.slice(0, 60)}" is not supported ${why}`,
    );
  }
}

/** null: any type. */
export function typesOf(schema: Schema, place: Place): readonly Type[] | null {
  const { type } = schema;
  if (type === undefined) {
    if (schema.properties !== undefined) return ["object"];
    if (schema.items !== undefined || schema.prefixItems !== undefined) return ["array"];
    return null;
  }
  const types: unknown[] = Array.isArray(type) ? type : [type];
  for (const name of types) {
    if ((TYPES as readonly unknown[]).includes(name)) continue;
    throw new SchemaError(beside(place, "type").path, `must be one of ${TYPES.join(", ")}`);
  }
  if (types.length === 0) throw new SchemaError(beside(place, "type").path, "is empty");
  return [...new Set(types as Type[])];
}

export function hasType(value: unknown, type: string): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "array":
      return Array.isArray(value);
    case "object":
      return isSchema(value);
    case "integer":
      return Number.isInteger(value);
    default:
      return typeof value === type;
  }
}

export function size(schema: Schema, minKey: string, maxKey: string, place: Place) {
  const read = (keyword: string, fallback: number) => {
    const value = schema[keyword] ?? fallback;
    if (value === fallback || (Number.isSafeInteger(value) && (value as number) >= 0)) {
      return value as number;
    }
    throw new SchemaError(beside(place, keyword).path, "must be an integer of at least 0");
  };
  const [min, max] = [read(minKey, 0), read(maxKey, Infinity)];
  if (min > max) throw new SchemaError(place.path, `${minKey} is more than ${maxKey}`);
  return { min, max };
}

export function numberField(schema: Schema, keyword: string, place: Place): number | undefined {
  const value = schema[keyword];
  if (value === undefined || typeof value === "number") return value;
  throw new SchemaError(beside(place, keyword).path, "must be a number");
}

export function requiredNames(required: unknown, place: Place): ReadonlySet<string> {
  if (required === undefined) return new Set();
  if (Array.isArray(required) && required.length > MOST_NAMES) {
    throw new SchemaError(beside(place, "required").path, `has more than ${MOST_NAMES} names`);
  }
  if (Array.isArray(required) && required.every((name) => typeof name === "string")) {
    return new Set(required as string[]);
  }
  throw new SchemaError(beside(place, "required").path, "must be an array of names");
}

/** The smallest integer above a bound. */
export function above(bound: number | undefined): number | undefined {
  return bound === undefined ? undefined : Math.floor(bound) + 1;
}

export function below(bound: number | undefined): number | undefined {
  return bound === undefined ? undefined : Math.ceil(bound) - 1;
}

/** A part of a reference; as it is where it is no valid encoding. */
export function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
