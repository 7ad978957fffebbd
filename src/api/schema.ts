import { ApiError } from "../errors.js";

/**
 * Reads the fields of a request's JSON body, each by its type and range. An error names the field and
 * what would be right, in one line. `null` counts as absent, as with OpenAI.
 */

export interface Range {
  readonly min?: number;
  readonly max?: number;
  /** The value must be larger than this. */
  readonly above?: number;
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function invalid(param: string, wanted: string, value: unknown): ApiError {
  const message = `${param} must be ${wanted}, not ${shown(value)}.`;
  return new ApiError("invalid_parameter", { message, param });
}

export function unsupported(param: string, why: string): ApiError {
  return new ApiError("not_supported", { message: `${param} is not supported${why}.`, param });
}

const MAX_SHOWN = 60;

function shown(value: unknown): string {
  if (value === undefined) return "absent";
  if (Array.isArray(value)) return value.length === 0 ? "an empty array" : "an array";
  if (isJsonObject(value)) return "an object";
  if (typeof value === "number") return String(value); // JSON has no word for 1e999
  const text = JSON.stringify(typeof value === "string" ? value.slice(0, MAX_SHOWN + 1) : value);
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}...` : text;
}

function rangeText({ min, max, above }: Range): string {
  if (above !== undefined && max !== undefined) return ` above ${above} and at most ${max}`;
  if (above !== undefined) return ` above ${above}`;
  if (min !== undefined && max !== undefined) return ` from ${min} to ${max}`;
  if (min !== undefined) return ` of at least ${min}`;
  return "";
}

function inRange(value: number, { min, max, above }: Range): boolean {
  return (
    (min === undefined || value >= min) &&
    (max === undefined || value <= max) &&
    (above === undefined || value > above)
  );
}

/** The fields of an object within a body, which errors name by `param`. */
export function nested(value: unknown, param: string): Fields {
  if (isJsonObject(value)) return new Fields(value, `${param}.`);
  throw invalid(param, "an object", value);
}

export class Fields {
  readonly #body: JsonObject;
  readonly #read = new Set<string>();
  readonly #prefix: string;

  /** `prefix`: what errors put before the names of the fields. */
  constructor(body: JsonObject, prefix = "") {
    this.#body = body;
    this.#prefix = prefix;
  }

  /** What an error calls the field. */
  param(name: string): string {
    return this.#prefix + name;
  }

  /** The field as it came; undefined when absent or null. */
  raw(name: string): unknown {
    this.#read.add(name);
    // A body may carry a field named like a property that every object has.
    const value = Object.hasOwn(this.#body, name) ? this.#body[name] : undefined;
    return value === null ? undefined : value;
  }

  boolean(name: string): boolean | undefined {
    const value = this.raw(name);
    if (value === undefined || typeof value === "boolean") return value;
    throw invalid(this.param(name), "true or false", value);
  }

  string(name: string): string | undefined {
    const value = this.raw(name);
    if (value === undefined || typeof value === "string") return value;
    throw invalid(this.param(name), "a string", value);
  }

  number(name: string, range: Range): number | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (typeof value === "number" && inRange(value, range)) return value;
    throw invalid(this.param(name), `a number${rangeText(range)}`, value);
  }

  integer(name: string, range: Range): number | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (Number.isSafeInteger(value) && inRange(value as number, range)) return value as number;
    throw invalid(this.param(name), `an integer${rangeText(range)}`, value);
  }

  object(name: string): JsonObject | undefined {
    const value = this.raw(name);
    if (value === undefined || isJsonObject(value)) return value;
    throw invalid(this.param(name), "an object", value);
  }

  /** Throws ApiError that names a field that nobody asked for. */
  refuseUnread(): void {
    const [name] = this.unread();
    if (name !== undefined) throw unsupported(this.param(name), ": there is no such field");
  }

  /** Fields that the client sent and nobody asked for. */
  unread(): string[] {
    return Object.keys(this.#body).filter((name) => !this.#read.has(name));
  }
}
