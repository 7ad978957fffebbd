import { existsSync } from "node:fs";
import { dirname } from "node:path";
import {
  type Option,
  type OptionTable,
  parseOptions,
  UsageError,
  type Values,
} from "../src/cli/options.js";

/** A number; "inf" where `max` is infinite. */
export function decimal<Value extends number | null>(common: {
  readonly initial: Value;
  readonly help: string;
  readonly placeholder?: string;
  readonly shown?: string;
  readonly above?: number; // the least value is more than this; else 0
  readonly max?: number;
}): Option<number | Value> {
  const { initial, help, placeholder = "X", max = Number.POSITIVE_INFINITY } = common;
  const above = common.above ?? null;
  const least = above === null ? "0 or more" : `more than ${above}`;
  const most = max === Number.POSITIVE_INFINITY ? "" : ` and at most ${max}`;
  return {
    placeholder,
    help,
    initial,
    shown: common.shown ?? (initial === Number.POSITIVE_INFINITY ? "inf" : String(initial)),
    parse: (text) => {
      const value = text === "inf" ? Number.POSITIVE_INFINITY : Number(text);
      const enough = above === null ? value >= 0 : value > above;
      if (text.trim() !== "" && enough && value <= max) return value;
      throw new Error(`must be a number ${least}${most}`);
    },
  };
}

/** A file to write at the end, after minutes of work: its folder is looked for before. */
export function outputFile(help: string): Option<string | null> {
  return {
    placeholder: "FILE",
    help,
    initial: null,
    shown: "none",
    parse: (path) => {
      const isFolder = (place: string) => existsSync(`${place}/.`);
      if (path !== "" && isFolder(dirname(path)) && !isFolder(path)) return path;
      throw new Error("must be a file, in a folder that is there");
    },
  };
}

/** "--flag a b c" as "--flag a --flag b --flag c", for the flags of vLLM's client that take several values. */
export function spreadValues(args: readonly string[], flags: readonly string[]): string[] {
  const spread: string[] = [];
  let flag: string | null = null;
  let values = 0;
  for (const arg of args) {
    if (arg.startsWith("-")) {
      flag = flags.includes(arg) ? arg : null;
      values = 0;
      spread.push(arg);
    } else {
      if (flag !== null && values++ > 0) spread.push(flag);
      spread.push(arg);
    }
  }
  return spread;
}

/** What a tool was told, with at most `most` operands; null when that was to print its usage. */
export function readArguments<Table extends OptionTable>(
  table: Table,
  usage: string,
  args: readonly string[],
  most = 0,
): { readonly values: Values<Table>; readonly operands: readonly string[] } | null {
  const { values, operands, help } = parseOptions(table, args, {});
  if (help) {
    console.log(usage);
    return null;
  }
  const extra = operands[most];
  if (extra !== undefined) throw new UsageError(`unexpected argument "${extra}"`);
  return { values, operands };
}

/** What a table of options gives when nothing is said. */
export function optionDefaults<Table extends OptionTable>(table: Table): Values<Table> {
  return parseOptions(table, [], {}).values;
}
