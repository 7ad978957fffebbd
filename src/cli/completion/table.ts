import type { Command } from "../command.js";
import { flagName, type OptionTable } from "../options.js";

/** What shells complete, whichever they are. */
export interface CompletedCommand {
  readonly name: string;
  readonly summary: string;
  readonly operands: Command["operands"];
  readonly options: readonly CompletedOption[];
}

export interface CompletedOption {
  readonly flag: string;
  readonly help: string;
  /** What follows the flag: nothing, something of its own, a path, or one of a list. */
  readonly value: "none" | "any" | "path" | readonly string[];
}

const HELP: CompletedOption = { flag: "--help", help: "show the options", value: "none" };

/** Placeholders of values that are paths, or may be. */
const PATHS: readonly string[] = ["PATH", "FOLDER", "MODEL"];

export function completedOptions(table: OptionTable): CompletedOption[] {
  const own = Object.entries(table).map(([key, { placeholder, values, help }]) => {
    const path = placeholder !== null && PATHS.includes(placeholder);
    const value = placeholder === null ? "none" : (values ?? (path ? "path" : "any"));
    return { flag: flagName(key), help, value } as const;
  });
  return [...own, HELP];
}

/** A text within single quotes, for a shell of the Bourne family. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
