#!/usr/bin/env node
import { CommandError, type Terminal } from "./cli/command.js";
import { COMMANDS } from "./cli/commands.js";
import { UsageError } from "./cli/options.js";
import { printableOn } from "./cli/printable.js";
import { ModelError } from "./models/model-error.js";
import { nearest } from "./nearest.js";
import { VERSION } from "./version.js";

/** The only file that ends the process. Exit codes: 0 done, 1 failed, 2 wrong usage, 128 + n signal n. */

const HELP = `Usage: smore COMMAND [OPTIONS]

${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(10)} ${summary}`)
  .join("\n")}

smore COMMAND --help tells the options, smore --version which one this is. Exit codes: 0 done, 1 failed, 2 wrong usage.

Examples:
  smore serve
  smore chat "What is the capital of France?"
  source <(smore completion bash)`;

const terminal: Terminal = {
  environment: process.env,
  print: (line) => process.stdout.write(`${line}\n`),
  complain: (line) => process.stderr.write(`${line}\n`),
  get input() {
    return process.stdin; // opened by those who ask for it alone
  },
  output: process.stdout,
  drainSignal: () => {
    const controller = new AbortController();
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (controller.signal.aborted) endBy(signal);
        controller.abort(signal);
      });
    }
    return controller.signal;
  },
  onHangup: (handler) => void process.on("SIGHUP", handler),
  endBy,
};

/** process.exit would wait for native work, which may be stuck. */
function endBy(signal: NodeJS.Signals): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

async function main([name, ...args]: readonly string[]): Promise<number> {
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    terminal.print(HELP);
    return 0;
  }
  if (name === "--version" || name === "version") {
    terminal.print(VERSION);
    return 0;
  }
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry === undefined) {
    const near = nearest(name, Object.keys(COMMANDS));
    const hint = near === null ? "" : `; did you mean ${near}?`;
    throw new UsageError(`unknown command "${name}"${hint} (smore --help lists them)`);
  }
  const { command } = await entry.load();
  return await command.run(args, terminal);
}

/** Faults of input are one line; faults of ours keep their stack. */
function report(error: unknown): number {
  const fault = error instanceof Error ? error.stack : String(error);
  const text = `smore: ${isInputFault(error) ? error.message : fault}`;
  terminal.complain(printableOn(process.stderr, text));
  return error instanceof UsageError ? 2 : 1;
}

/** Errors of the native side and of the operating system carry a code. */
function isInputFault(error: unknown): error is Error {
  if (error instanceof UsageError || error instanceof CommandError) return true;
  if (error instanceof ModelError) return true;
  return error instanceof Error && "code" in error && typeof error.code === "string";
}

/** process.exit drops what a slow reader of a pipe has not taken yet. */
function written(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write("", () => resolve()));
}

const outputs = [process.stdout, process.stderr];
let lost: Error | null = null; // what should have been written, for another reason than a reader that left
for (const output of outputs) {
  output.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") lost ??= error;
  });
}
let exitCode = await main(process.argv.slice(2)).catch(report);
await Promise.all(outputs.map(written));
if (lost !== null && exitCode === 0) exitCode = report(lost);
process.exit(exitCode);
