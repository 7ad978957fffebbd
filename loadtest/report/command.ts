import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { CommandError } from "../../src/cli/command.js";
import { optionHelp, text, UsageError } from "../../src/cli/options.js";
import type { Result } from "../client/result.js";
import { readArguments } from "../options.js";
import { htmlReport, type NamedResult } from "./html.js";

const OPTIONS = {
  output: text({ initial: "report.html" as string, placeholder: "FILE", help: "page to write" }),
  title: text({ initial: "Load test" as string, help: "its title" }),
} as const;

const USAGE = `Usage: npm run loadtest -- report RESULT.json... [OPTIONS]

Makes one page of results that were saved by --save-result: a table, and throughput and latency against
concurrency; for those saved with --save-detailed also how times spread, and tokens per second over time.

${optionHelp(OPTIONS)}`;

export async function report(args: readonly string[]): Promise<number> {
  const given = readArguments(OPTIONS, USAGE, args, Infinity);
  if (given === null) return 0;
  const { values, operands } = given;
  if (operands.length === 0) throw new UsageError(USAGE);
  writeFileSync(values.output, htmlReport(values.title, operands.map(readResult)));
  console.log(values.output);
  return 0;
}

function readResult(file: string): NamedResult {
  let result: Partial<Result> | null;
  try {
    result = JSON.parse(readFileSync(file, "utf8")) as Partial<Result> | null;
  } catch (error) {
    throw new CommandError(`${file}: ${(error as Error).message}`);
  }
  if (typeof result?.output_throughput !== "number") {
    throw new CommandError(`${file}: it is no result of a load test: output_throughput is missing`);
  }
  const name = result.label ?? basename(file, ".json");
  return { name, result: result as Result };
}
