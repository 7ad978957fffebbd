import { choice, integer, optionHelp, text, UsageError } from "../../src/cli/options.js";
import { resolveModel } from "../../src/models/resolve.js";
import { readArguments } from "../options.js";
import { readBaseShape } from "./base-shape.js";
import { KINDS } from "./tensors.js";
import { writeAdapters } from "./write.js";

const OPTIONS = {
  model: text({ initial: "smollm2-135m-instruct" as string, help: "base that they must fit" }),
  kind: choice(KINDS, {
    initial: "smore",
    help: "trees of 4/4 experts, 2/2 active, rank 8 on the MLP, or LoRA of rank 16 on all linears",
  }),
  count: integer({ initial: 16, min: 1, max: 1000, help: "folders to write: a000, a001, ..." }),
  distinct: integer({
    initial: 16,
    min: 1,
    max: 1000,
    help: "of these have weights of their own; the others are hard links to them",
  }),
} as const;

const USAGE = `Usage: npm run loadtest -- adapters FOLDER [OPTIONS]

Writes adapters with random bf16 weights into FOLDER, to measure with (smore serve --adapters-dir FOLDER).

${optionHelp(OPTIONS)}`;

export async function adapters(args: readonly string[]): Promise<number> {
  const given = readArguments(OPTIONS, USAGE, args, 1);
  if (given === null) return 0;
  const { values, operands } = given;
  const [folder] = operands;
  if (folder === undefined) throw new UsageError(USAGE);
  const { path } = await resolveModel(values.model);
  const names = writeAdapters(folder, readBaseShape(path), values);
  console.log(`${names.length} adapters in ${folder}`);
  return 0;
}
