import { totalmem } from "node:os";
import { nearest } from "../nearest.js";

/** A command line that cannot be obeyed. The message is one line that names the option. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** One option. Its flag and environment name follow from its key: maxBatch, --max-batch, SMORE_MAX_BATCH. */
export interface Option<Value> {
  /** What the value is called in the help; null = a switch without a value. */
  readonly placeholder: string | null;
  readonly help: string;
  readonly initial: Value;
  /** The default as the help tells it. */
  readonly shown: string;
  /** All that it may be, where that is a list. */
  readonly values?: readonly string[];
  /** Throws an Error that says what the value must be. `previous`: from an earlier use of the flag. */
  readonly parse: (text: string, previous: Value | null) => Value;
}

// biome-ignore lint/suspicious/noExplicitAny: a table mixes options of many types
export type OptionTable = Readonly<Record<string, Option<any>>>;
export type Values<Table extends OptionTable> = {
  readonly [Key in keyof Table]: Table[Key] extends Option<infer Value> ? Value : never;
};

interface Common<Value> {
  readonly initial: Value;
  readonly help: string;
  readonly shown?: string;
  readonly placeholder?: string;
}

export function text<Value extends string | null>(
  common: Common<Value>,
): Option<string | Exclude<Value, string>> {
  return {
    placeholder: "TEXT",
    shown: common.initial ?? "",
    ...common,
    parse: nonEmpty,
  } as Option<string | Exclude<Value, string>>;
}

/** A text that stands in answers, metrics and log lines. */
export function label<Value extends string | null>(
  common: Common<Value>,
): Option<string | Exclude<Value, string>> {
  const parse = (value: string) => {
    if (/\p{Cc}/u.test(value)) throw new Error("must not hold control characters");
    return nonEmpty(value);
  };
  return { ...text(common), parse } as Option<string | Exclude<Value, string>>;
}

/** Whose web pages may call: an origin as browsers send it, or * for all. */
export function origin(help: string): Option<string | null> {
  const parse = (value: string) => {
    const scheme = /^([a-z][a-z0-9+.-]*):\/\/[^\s/?#]+$/.exec(value)?.[1];
    // Others, such as chrome-extension: and tauri:, are compared as they are.
    const onWeb = scheme === "http" || scheme === "https";
    const written = URL.canParse(value) ? new URL(value).origin : "null";
    if (value === "*" || (onWeb ? written === value : scheme !== undefined)) return value;
    const meant = written === "null" ? "" : `; here ${written}`;
    throw new Error(`must be * or an origin such as https://chat.example.org${meant}`);
  };
  return { placeholder: "ORIGIN", help, initial: null, shown: "none", parse };
}

function nonEmpty(value: string): string {
  if (value === "") throw new Error("must not be empty");
  return value;
}

/** A text that may be given several times, or as a list with commas in the environment. */
export function list(
  common: Omit<Common<readonly string[]>, "initial">,
): Option<readonly string[]> {
  return {
    placeholder: "TEXT",
    shown: "none",
    ...common,
    initial: [],
    parse: (value, previous) => [...(previous ?? []), nonEmpty(value)],
  };
}

export function integer<Value extends number | null>(
  common: Common<Value> & { readonly min: number; readonly max: number },
): Option<number | Value> {
  const { min, max, ...rest } = common;
  return {
    placeholder: "N",
    shown: String(common.initial),
    ...rest,
    parse: (value) => {
      const number = /^[0-9]+$/.test(value) ? Number(value) : Number.NaN;
      if (number >= min && number <= max) return number;
      throw new Error(`must be a whole number from ${min} to ${max}`);
    },
  };
}

export function decimal<Value extends number | null>(
  common: Common<Value> & { readonly min: number; readonly max: number },
): Option<number | Value> {
  const { min, max, ...rest } = common;
  return {
    placeholder: "X",
    shown: String(common.initial),
    ...rest,
    parse: (value) => {
      const number = /^[0-9]*\.?[0-9]+$/.test(value) ? Number(value) : Number.NaN;
      if (number >= min && number <= max) return number;
      throw new Error(`must be a number from ${min} to ${max}`);
    },
  };
}

export function choice<const Value extends string>(
  values: readonly Value[],
  common: Common<NoInfer<Value>>,
): Option<Value> {
  return {
    placeholder: values.join("|"),
    values,
    shown: common.initial,
    ...common,
    parse: (value) => {
      const found = values.find((candidate) => candidate === value);
      if (found !== undefined) return found;
      throw new Error(`must be one of ${values.join(", ")}`);
    },
  };
}

export function toggle(help: string): Option<boolean> {
  return {
    placeholder: null,
    help,
    initial: false,
    shown: "off",
    parse: (value) => {
      if (value === "true" || value === "1") return true;
      if (value === "false" || value === "0") return false;
      throw new Error("must be true or false");
    },
  };
}

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 1 << 10,
  MIB: 1 << 20,
  GIB: 1 << 30,
  TIB: 2 ** 40,
};

/** Memory that this process may use: the machine's, or its container's where that is less. */
export function usableMemory(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

/** Memory as users give it: whose share it is one of, only the device that is taken tells. */
export type MemorySize = { readonly bytes: number } | { readonly share: number };

/** Bytes of a size where there are `memory` bytes. */
export function bytesOf(size: MemorySize, memory: number): number {
  return "bytes" in size ? size.bytes : Math.floor(size.share * memory);
}

/** Bytes: a number with or without a unit, or a share of memory. */
export function budget(share: string, help: string): Option<MemorySize> {
  return {
    placeholder: "SIZE",
    help,
    initial: parseSize(share),
    shown: `${share} of memory`,
    parse: parseSize,
  };
}

/** A budget that another option gives where it is not named; `shown` says which. */
export function derivedBudget(shown: string, help: string): Option<MemorySize | null> {
  return { placeholder: "SIZE", help, initial: null, shown, parse: parseSize };
}

/** Bytes of the host; `initial` is not a share. */
export function size(initial: string, help: string): Option<number> {
  const parse = (value: string) => {
    const bytes = bytesOf(parseSize(value), usableMemory());
    if (bytes >= 1 && bytes <= usableMemory()) return bytes;
    throw new Error(`must be above 0 and at most the memory of ${usableMemory()} bytes`);
  };
  return { placeholder: "SIZE", help, initial: parse(initial), shown: initial, parse };
}

function parseSize(value: string): MemorySize {
  const match = /^([0-9]+(?:\.[0-9]+)?) *([A-Za-z]*|%)$/.exec(value);
  const [amount, unit = ""] = [Number(match?.[1]), match?.[2]];
  const scale = UNITS[unit.toUpperCase()];
  if (match === null || (unit !== "%" && scale === undefined)) {
    throw new Error("must be a size such as 512MiB, 4GiB or 25% (of memory)");
  }
  if (scale === undefined) {
    if (amount > 0 && amount <= 100) return { share: amount / 100 };
    throw new Error("must be above 0% and at most 100% of memory");
  }
  const bytes = Math.floor(amount * scale);
  if (bytes >= 1 && bytes <= Number.MAX_SAFE_INTEGER) return { bytes };
  throw new Error("must be above 0 and at most 8192TiB");
}

export interface Parsed<Table extends OptionTable> {
  readonly values: Values<Table>;
  readonly operands: readonly string[];
  readonly help: boolean;
  /** What gave an option its value, as the user wrote it: "--max-batch" or "SMORE_MAX_BATCH". */
  readonly source: (key: keyof Table & string) => string;
}

/** Flags before environment before defaults. Throws UsageError naming the first thing that is wrong. */
export function parseOptions<Table extends OptionTable>(
  table: Table,
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Parsed<Table> {
  const given = new Map<string, unknown>();
  const operands: string[] = [];
  const sources = new Map<string, string>();
  const parsed = (help: boolean): Parsed<Table> => ({
    values: defaults(table, given),
    operands,
    help,
    source: (key) => sources.get(key) ?? flagName(key),
  });
  const take = (source: string, key: string, value: string) => {
    sources.set(key, source);
    try {
      given.set(key, table[key]!.parse(value, given.get(key) ?? null));
    } catch (error) {
      const but = value === "" ? "" : `, not ${JSON.stringify(value)}`;
      throw new UsageError(`${source} ${(error as Error).message}${but}`);
    }
  };
  const queue = [...args];
  for (let arg = queue.shift(); arg !== undefined; arg = queue.shift()) {
    if (arg === "--help" || arg === "-h") {
      return parsed(true);
    }
    if (!arg.startsWith("-") || arg === "-") {
      operands.push(arg);
      continue;
    }
    const [flag = "", inline] = splitOnce(arg, "=");
    const key = Object.keys(table).find((candidate) => flagName(candidate) === flag);
    if (key === undefined) throw new UsageError(unknownFlag(flag, table));
    const isSwitch = table[key]!.placeholder === null;
    const value = inline ?? (isSwitch ? "true" : queue.shift());
    if (value === undefined) throw new UsageError(`${flag} needs a value`);
    if (given.has(key) && !isList(table, key)) throw new UsageError(`${flag} is given twice`);
    take(flag, key, value);
  }
  for (const key of Object.keys(table)) {
    const name = environmentName(key);
    const value = environment[name];
    if (value === undefined || given.has(key)) continue;
    for (const part of isList(table, key) ? value.split(",") : [value]) take(name, key, part);
  }
  return parsed(false);
}

function isList(table: OptionTable, key: string): boolean {
  return Array.isArray(table[key]!.initial);
}

function defaults<Table extends OptionTable>(
  table: Table,
  given: ReadonlyMap<string, unknown>,
): Values<Table> {
  const entries = Object.entries(table).map(([key, option]) => [
    key,
    given.has(key) ? given.get(key) : option.initial,
  ]);
  return Object.freeze(Object.fromEntries(entries)) as Values<Table>;
}

function splitOnce(value: string, separator: string): [string, string?] {
  const at = value.indexOf(separator);
  return at < 0 ? [value] : [value.slice(0, at), value.slice(at + separator.length)];
}

export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function environmentName(key: string): string {
  return `SMORE_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** Variables that look like options and are none of `table`: most likely misspelt. */
export function unknownVariables(
  table: OptionTable,
  environment: Readonly<Record<string, string | undefined>>,
): string[] {
  const known = new Set([...Object.keys(table).map(environmentName), ...OTHER_VARIABLES]);
  return Object.keys(environment).filter((name) => name.startsWith("SMORE_") && !known.has(name));
}

/** Read elsewhere: where fetched models lie, and which one the tests use. */
const OTHER_VARIABLES = ["SMORE_CUDA", "SMORE_MODEL_CACHE", "SMORE_TEST_MODEL"];

function unknownFlag(flag: string, table: OptionTable): string {
  const near = nearest(flag, Object.keys(table).map(flagName));
  return `unknown option ${flag}${near === null ? "" : `; did you mean ${near}?`}`;
}

/** The options as lines of help. */
export function optionHelp(table: OptionTable): string {
  const rows = Object.entries(table).map(([key, option]) => {
    const { placeholder, shown, help } = option;
    const usage = placeholder === null ? flagName(key) : `${flagName(key)} ${placeholder}`;
    const initial = placeholder === null || shown === "" ? "" : ` (default: ${shown})`;
    return [usage, `${help}${initial}`] as const;
  });
  const width = Math.min(34, Math.max(...rows.map(([usage]) => usage.length)));
  return rows
    .map(([usage, help]) =>
      usage.length > width
        ? `  ${usage}\n  ${" ".repeat(width)}  ${help}`
        : `  ${usage.padEnd(width)}  ${help}`,
    )
    .join("\n");
}
