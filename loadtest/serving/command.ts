import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { CommandError } from "../../src/cli/command.js";
import { integer, optionHelp, text } from "../../src/cli/options.js";
import { resolveModel } from "../../src/models/resolve.js";
import { readBaseShape } from "../adapters/base-shape.js";
import { writeAdapters } from "../adapters/write.js";
import { circumstances } from "../circumstances.js";
import { outputFile, readArguments } from "../options.js";
import { output, SMORE, withServer } from "../processes.js";
import {
  type LoopShares,
  measureReuse,
  measureStall,
  measureThroughput,
  type Reuse,
  STREAM_TOKENS,
  STREAMS,
  type Stall,
} from "./measures.js";
import { Session } from "./session.js";

const HELD_ADAPTERS = 16;

const OPTIONS = {
  model: text({ initial: "smollm2-135m-instruct" as string, help: "base model" }),
  threads: integer({ initial: 2, min: 1, max: 1024, help: "threads of the engine" }),
  rounds: integer({ initial: 3, min: 1, max: 100, help: "rounds, of which the best counts" }),
  adapterDir: text({
    initial: join(tmpdir(), "smore-bench-adapters") as string,
    placeholder: "FOLDER",
    help: "where random adapters are made and kept",
  }),
  output: outputFile("write the figures as JSON"),
} as const;

const USAGE = `Usage: npm run bench:serve -- [OPTIONS]

Measures what serving adds to the engine: streams over HTTP beside smore bench, time that the event loop is held, running
streams while a long prompt arrives, a prompt whose beginning was seen, and streams of the base beside adapters.

${optionHelp(OPTIONS)}`;

/** What one round measured; tokens per second of ${STREAMS} streams. */
interface Round {
  readonly bench: number;
  readonly http: number;
  readonly besideAdapters: number; // the same on a server that holds adapters
  readonly loop: LoopShares;
  readonly betweenSteps: number;
  readonly stall: Stall;
  readonly reuse: Reuse;
}

/** Runs the tool from its command line. */
export async function serving(args: readonly string[]): Promise<number> {
  const given = readArguments(OPTIONS, USAGE, args);
  if (given === null) return 0;
  const { values } = given;
  const { path: model, name } = await resolveModel(values.model);
  const common = ["--model", model, "--threads", String(values.threads)];
  const folder = join(values.adapterDir, `${basename(model)}-smore-${HELD_ADAPTERS}`);
  const set = { kind: "smore", count: HELD_ADAPTERS, distinct: HELD_ADAPTERS } as const;
  const held = writeAdapters(folder, readBaseShape(model), set);
  const adapters = held.flatMap((each) => ["--adapter", `${each}=${join(folder, each)}`]);
  const serve = ["serve", ...common, "--log-level", "error"];
  const rounds: Round[] = [];
  await withServer(SMORE, serve, (plainUrl) =>
    withServer(SMORE, [...serve, ...adapters], async (holdingUrl) => {
      const [plain, holding] = [new Session(plainUrl), new Session(holdingUrl)];
      await touch(plainUrl, await plain.model());
      for (const each of held) await touch(holdingUrl, each);
      for (let number = 0; number < values.rounds; number++) {
        rounds.push(await round(common, plain, holding, number));
        console.error(`round ${number + 1} of ${values.rounds} is done`);
      }
      plain.close();
      holding.close();
    }),
  );
  const figures = figuresOf(rounds);
  console.log(table(name, rounds.length, figures));
  if (values.output !== null) {
    const report = { ...circumstances(), model: name, threads: values.threads, figures, rounds };
    writeFileSync(values.output, `${JSON.stringify(report, null, 2)}\n`);
  }
  return 0;
}

/** Has the server answer once; it holds an adapter from then on. */
async function touch(url: string, model: string): Promise<void> {
  const response = await fetch(new URL("/v1/completions", url), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, prompt: "one", max_tokens: 1 }),
  });
  if (!response.ok) throw new CommandError(`${model}: ${await response.text()}`);
  await response.arrayBuffer();
}

/** Who begins changes, so that a machine that changes its pace favours nobody. */
async function round(
  common: readonly string[],
  plain: Session,
  holding: Session,
  number: number,
): Promise<Round> {
  const seed = 100 * (number + 1); // prompts that no cache has seen
  const measured: Record<"bench" | "http" | "besideAdapters", number> = {
    bench: 0,
    http: 0,
    besideAdapters: 0,
  };
  let loop: LoopShares = { plan: 0, emit: 0, all: 0, held: 0 };
  let betweenSteps = 0;
  const parts = [
    async () => {
      measured.bench = await engineAlone(common);
    },
    async () => {
      const throughput = await measureThroughput(plain, seed);
      measured.http = throughput.tokensPerSecond;
      ({ loop, betweenSteps } = throughput);
    },
    async () => {
      measured.besideAdapters = (await measureThroughput(holding, seed)).tokensPerSecond;
    },
  ];
  for (const part of number % 2 === 0 ? parts : parts.toReversed()) await part();
  const stall = await measureStall(plain, seed + 10);
  const reuse = await measureReuse(plain, seed + 20);
  return { ...measured, loop, betweenSteps, stall, reuse };
}

async function engineAlone(common: readonly string[]): Promise<number> {
  const sizes = ["--tokens", String(STREAM_TOKENS), "--max-batch", String(STREAMS)];
  const report = JSON.parse(
    await output(SMORE, ["bench", ...common, ...sizes, "--repeat", "1", "--json"]),
  ) as { results: { name: string; tokensPerSecond: number }[] };
  return report.results.find(({ name }) => name === `${STREAMS} streams, base`)!.tokensPerSecond;
}

/** Of each figure the best round. */
function figuresOf(rounds: readonly Round[]) {
  const most = (key: "bench" | "http" | "besideAdapters") =>
    Math.max(...rounds.map((each) => each[key]));
  const calmest = <Value extends { readonly ratio: number } | { readonly share: number }>(
    values: readonly Value[],
    key: (value: Value) => number,
  ) => values.reduce((best, value) => (key(value) < key(best) ? value : best));
  return {
    bench: most("bench"),
    http: most("http"),
    httpOfBench: most("http") / most("bench"),
    besideAdapters: most("besideAdapters"),
    besideAdaptersOfPlain: most("besideAdapters") / most("http"),
    loop: rounds
      .map((each) => each.loop)
      .reduce((best, loop) => (loop.all < best.all ? loop : best)),
    betweenSteps: Math.min(...rounds.map((each) => each.betweenSteps)),
    stall: calmest(
      rounds.map((each) => each.stall),
      (stall) => stall.ratio,
    ),
    reuse: calmest(
      rounds.map((each) => each.reuse),
      (reuse) => reuse.share,
    ),
  };
}

function table(name: string, rounds: number, figures: ReturnType<typeof figuresOf>): string {
  const { loop, stall, reuse } = figures;
  const ms = (value: number) => `${value.toFixed(1)} ms`;
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  return `
${name}: best of ${rounds}
| what | figure |
|---|---|
| ${STREAMS} streams, engine alone | ${figures.bench.toFixed(0)} tokens/s |
| ${STREAMS} streams over HTTP, prompts included | ${figures.http.toFixed(0)} tokens/s, ${percent(figures.httpOfBench)} of it |
| the same beside ${HELD_ADAPTERS} adapters held | ${figures.besideAdapters.toFixed(0)} tokens/s, ${percent(figures.besideAdaptersOfPlain)} of it |
| event loop computing, of the engine's time | ${percent(loop.all)}: planning ${percent(loop.plan)}, commit, text and writing ${percent(loop.emit)} |
| event loop held, with what it waited for a core | ${percent(loop.held)} |
| time in which no step ran | ${percent(figures.betweenSteps)} |
| between tokens of 8 streams: median | ${ms(stall.p50)} |
| while a prompt of 2,000 words arrives (${ms(stall.promptMs)}): median, 99th percentile | ${ms(stall.p50During)}, ${ms(stall.p99During)} = ${stall.ratio.toFixed(2)} times that |
| prompt of 1,000 words: first token, again after another end | ${ms(reuse.first)}, ${ms(reuse.again)} = ${percent(reuse.share)} |
`;
}
