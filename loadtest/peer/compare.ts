import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import { CommandError } from "../../src/cli/command.js";
import { integer, optionHelp, text, UsageError } from "../../src/cli/options.js";
import { resolveModel } from "../../src/models/resolve.js";
import { circumstances } from "../circumstances.js";
import { outputFile, readArguments } from "../options.js";
import { commandLine, withServer } from "../processes.js";
import {
  type Agreement,
  type Answers,
  askAll,
  compareAnswers,
  compareFirst,
  type FirstAgreement,
} from "./agreement.js";
import type { Served } from "./contestant.js";
import { findPrograms, llamaCpp, PEER_TIMEOUT } from "./llama-cpp.js";
import { ours } from "./ours.js";
import { PROMPTS } from "./prompts.js";

const OPTIONS = {
  model: text({ initial: "smollm2-135m-instruct" as string, help: ".gguf file or catalogue name" }),
  threads: integer({ initial: 2, min: 1, max: 1024, help: "threads of either engine" }),
  timeout: PEER_TIMEOUT,
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
  output: outputFile("write the figures as JSON"),
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
  const own = ours(values.threads).server(model, 1);
  const peer = llamaCpp(findPrograms(path), values.threads, values.timeout).server(model, 1);
  const exact = { ...own, args: [...own.args, "--activations", "fp32"] };
  const first = PROMPTS.slice(0, values.firstPrompts);
  const greedy = PROMPTS.slice(0, values.greedyPrompts);
  const answers = (served: Served, asked: readonly string[]) =>
    answersOf(served, first, asked, values.tokens);
  const [ownAnswers, peerAnswers, exactAnswers] = [
    await answers(own, greedy),
    await answers(peer, greedy),
    await answers(exact, []),
  ];
  const agreement = compareAnswers(ownAnswers, peerAnswers);
  const rounding = {
    own: compareFirst(ownAnswers.first, exactAnswers.first),
    peer: compareFirst(peerAnswers.first, exactAnswers.first),
  };
  console.log(table(basename(model), values.tokens, agreement, rounding));
  if (values.output !== null) {
    const report = { ...circumstances(), file: basename(model), ...agreement, rounding };
    writeFileSync(values.output, `${JSON.stringify(report, null, 2)}\n`);
  }
  return 0;
}

/** What a server says to the prompts. Throws CommandError with its command where that is something else. */
export function answersOf(
  { program, args, timeout }: Served,
  first: readonly string[],
  greedy: readonly string[],
  tokens: number,
): Promise<Answers> {
  const ask = (url: string) =>
    askAll(url, first, greedy, tokens).catch((error: Error) => {
      if (!(error instanceof CommandError)) throw error;
      throw new CommandError(`${commandLine(program, args)}: ${error.message}`);
    });
  return withServer(program, args, ask, timeout);
}

/** How far either side is from this server with float32 activations. */
interface Rounding {
  readonly own: FirstAgreement;
  readonly peer: FirstAgreement;
}

function table(file: string, tokens: number, agreement: Agreement, { own, peer }: Rounding) {
  const { answers, same, commonShare } = agreement;
  const spread = ({ rms, most }: FirstAgreement) => `${rms.toFixed(3)}, ${most.toFixed(3)}`;
  return `
${file}, beside llama.cpp
| what | figure |
|---|---|
| log probabilities of its five likeliest first tokens | ${agreement.compared} compared, ${agreement.missing} not found |
| their difference: root mean square, most | ${spread(agreement)} |
| ours from ours in float32 | ${spread(own)} |
| llama.cpp's from ours in float32 | ${spread(peer)} |
| greedy answers of ${tokens} tokens | ${same} of ${answers} the same |
| text in common until the first difference | ${(100 * commonShare).toFixed(0)} % |
`;
}
