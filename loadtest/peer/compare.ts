import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import { integer, optionHelp, text, UsageError } from "../../src/cli/options.js";
import { resolveModel } from "../../src/models/resolve.js";
import { circumstances } from "../circumstances.js";
import { readArguments } from "../options.js";
import { withServer } from "../processes.js";
import { type Agreement, askAll, compareAnswers } from "./agreement.js";
import { findPrograms, llamaCpp } from "./llama-cpp.js";
import { ours } from "./ours.js";
import { PROMPTS } from "./prompts.js";

const OPTIONS = {
  model: text({ initial: "smollm2-135m-instruct" as string, help: ".gguf file or catalogue name" }),
  threads: integer({ initial: 2, min: 1, max: 1024, help: "threads of either engine" }),
  firstPrompts: integer({
    initial: 20,
    min: 1,
    max: PROMPTS.length,
    help: "prompts of which the five likeliest first tokens are compared",
  }),
  greedyPrompts: integer({
    initial: PROMPTS.length,
    min: 1,
    max: PROMPTS.length,
    help: "prompts of which greedy answers are compared",
  }),
  tokens: integer({ initial: 32, min: 1, max: 400, help: "tokens of a greedy answer" }),
  output: text({
    initial: null,
    placeholder: "FILE",
    help: "write the figures as JSON",
    shown: "",
  }),
} as const;

const USAGE = `Usage: npm run compare:peer -- PATH [OPTIONS]

Compares what this server and llama.cpp's say on the same file: log probabilities of first tokens, and greedy answers.
PATH is as for bench:peer.

${optionHelp(OPTIONS)}`;

/** Runs the comparison from its command line. */
export async function compare(args: readonly string[]): Promise<number> {
  const given = readArguments(OPTIONS, USAGE, args, 1);
  if (given === null) return 0;
  const { values, operands } = given;
  const [path] = operands;
  if (path === undefined) throw new UsageError(`the path of llama.cpp is missing\n\n${USAGE}`);
  const { path: model } = await resolveModel(values.model);
  const contestants = [ours(values.threads), llamaCpp(findPrograms(path), values.threads)] as const;
  const [own, peer] = await Promise.all(
    contestants.map((each) => {
      const { program, args } = each.server(model, 1);
      const first = PROMPTS.slice(0, values.firstPrompts);
      const greedy = PROMPTS.slice(0, values.greedyPrompts);
      return withServer(program, args, (url) => askAll(url, first, greedy, values.tokens));
    }),
  );
  const agreement = compareAnswers(own!, peer!);
  console.log(table(basename(model), values.tokens, agreement));
  if (values.output !== null) {
    const report = { ...circumstances(), file: basename(model), ...agreement };
    writeFileSync(values.output, `${JSON.stringify(report, null, 2)}\n`);
  }
  return 0;
}

function table(file: string, tokens: number, agreement: Agreement): string {
  const { compared, missing, rms, most, answers, same, commonShare } = agreement;
  return `
${file}, beside llama.cpp
| what | figure |
|---|---|
| log probabilities of its five likeliest first tokens | ${compared} compared, ${missing} not found |
| their difference, root mean square | ${rms.toFixed(3)} |
| their difference, at most | ${most.toFixed(3)} |
| greedy answers of ${tokens} tokens | ${same} of ${answers} the same |
| text in common until the first difference | ${(100 * commonShare).toFixed(0)} % |
`;
}
