import type { OptionTable } from "./options.js";

/** What main.ts lends to a command. */
export interface Terminal {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** A line on standard output. */
  print(line: string): void;
  /** A line on standard error. */
  complain(line: string): void;
  readonly input: NodeJS.ReadStream;
  readonly output: NodeJS.WriteStream;
  /** From now on SIGTERM and SIGINT abort this signal instead of ending the process; a second one ends it. */
  drainSignal(): AbortSignal;
  /** From now on SIGHUP calls `handler` instead of ending the process. */
  onHangup(handler: () => void): void;
  /** Ends the process at once, as the signal would have. */
  endBy(signal: NodeJS.Signals): void;
}

/** A fault that is not ours; its message is one line for the user. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

/** One subcommand. */
export interface Command {
  /** What --help prints. */
  readonly usage: string;
  readonly options: OptionTable;
  /** What stands beside the options, as far as a shell can complete it. */
  readonly operands: "none" | "paths" | readonly string[];
  /** Resolves to the exit code: 0, or 1 when it failed and said why. Throws UsageError. */
  run(args: readonly string[], terminal: Terminal): Promise<number>;
}
