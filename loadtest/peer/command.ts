import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { integer, list, optionHelp, text, UsageError } from "../../src/cli/options.js";
import { resolveModel } from "../../src/models/resolve.js";
import { circumstances } from "../circumstances.js";
import { outputFile, readArguments } from "../options.js";
import { STREAMS, WORKLOAD } from "./contestant.js";
import { findPrograms, llamaCpp, PEER_TIMEOUT, quantized } from "./llama-cpp.js";
import { ours } from "./ours.js";
import { type Case, type Entry, race } from "./race.js";

const OPTIONS = {
  model: text({ initial: "smollm2-135m-instruct" as string, help: ".gguf file or catalogue name" }),
  formats: text({
    initial: null,
    placeholder: "LIST",
    help: "race these formats, made from the model by llama-quantize, as in Q4_0,Q8_0",
    shown: "the model as it is",
  }),
  formatDir: text({
    initial: join(tmpdir(), "smore-bench-formats") as string,
    placeholder: "FOLDER",
    help: "where they are made and kept",
  }),
  threads: integer({ initial: 2, min: 1, max: 1024, help: "threads of either engine" }),
  rounds: integer({ initial: 3, min: 1, max: 100, help: "rounds, of which the best counts" }),
  timeout: PEER_TIMEOUT,
  serverArg: list({
    placeholder: "ARG",
    help: "one more argument for llama-server, as in -kvu; repeatable",
  }),
  output: outputFile("write all figures as JSON"),
} as const;

const USAGE = `Usage: npm run bench:peer -- PATH [OPTIONS]

Races llama.cpp against this project, in turn, on the same file. PATH is a folder with llama-bench, llama-batched-bench,
llama-server and llama-quantize, or a script that takes the program's name before its arguments.

${optionHelp(OPTIONS)}

Example: npm run bench:peer -- ../llama.cpp/build/bin --model model.gguf --formats Q4_0,Q8_0 --output race.json`;

const { prompt, tokens, promptWords } = WORKLOAD;
const TITLES: Record<Case, string> = {
  oneStream: `one stream, decode (tg${tokens})`,
  manyStreams: `${STREAMS} streams, decode`,
  prompt: `prompt (pp${prompt})`,
  httpManyStreams: `over HTTP, ${STREAMS} streams, ${promptWords}-word prompts, ${tokens} tokens`,
  httpOneStream: "over HTTP, one stream",
};

interface FileRace {
  readonly file: string;
  readonly entries: readonly Entry[];
  readonly ratios: Record<Case, number>; // ours / peer's
}

/** Runs the race from its command line. */
export async function peer(args: readonly string[]): Promise<number> {
  const given = readArguments(OPTIONS, USAGE, args, 1);
  if (given === null) return 0;
  const { values, operands } = given;
  const [path] = operands;
  if (path === undefined) throw new UsageError(`the path of llama.cpp is missing\n\n${USAGE}`);
  const programs = findPrograms(path);
  const contestants = [
    ours(values.threads),
    llamaCpp(programs, values.threads, values.timeout, values.serverArg),
  ] as const;
  const { path: model } = await resolveModel(values.model);
  const races: FileRace[] = [];
  for (const format of values.formats?.split(",") ?? [null]) {
    const file = format
      ? await quantized(programs, model, format, values.formatDir, values.timeout)
      : model;
    console.error(basename(file));
    const entries = await race(contestants, file, values.rounds, console.error);
    const done = { file: basename(file), entries, ratios: ratiosOf(entries) };
    races.push(done);
    console.log(table(done));
  }
  if (values.output !== null) {
    const report = {
      ...circumstances(),
      threads: values.threads,
      rounds: values.rounds,
      serverArgs: values.serverArg,
      races,
    };
    writeFileSync(values.output, `${JSON.stringify(report, null, 2)}\n`);
  }
  return 0;
}

function ratiosOf([own, other]: readonly Entry[]): Record<Case, number> {
  const ratio = (key: Case) => [key, own!.best[key] / other!.best[key]];
  return Object.fromEntries((Object.keys(TITLES) as Case[]).map(ratio));
}

function table({ file, entries, ratios }: FileRace): string {
  const [own, other] = entries as [Entry, Entry];
  const shown = (value: number) => value.toFixed(1);
  const rows = (Object.keys(TITLES) as Case[]).map(
    (key) =>
      `| ${TITLES[key]} | ${shown(own.best[key])} | ${shown(other.best[key])} | ${ratios[key].toFixed(2)} |`,
  );
  const share = ({ best }: Entry) => (best.httpManyStreams / best.manyStreams).toFixed(2);
  return `
${file}: tokens/s, best of ${own.rounds.length}
| case | ${own.name} (${own.build}) | ${other.name} (${other.build}) | ratio |
|---|---|---|---|
${rows.join("\n")}
| over HTTP / without it, ${STREAMS} streams | ${share(own)} | ${share(other)} | |
`;
}
