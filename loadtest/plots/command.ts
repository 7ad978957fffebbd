import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { choice, integer, list, optionHelp, text } from "../../src/cli/options.js";
import { resolveModel } from "../../src/models/resolve.js";
import { readBaseShape } from "../adapters/base-shape.js";
import { KINDS } from "../adapters/tensors.js";
import { writeAdapters } from "../adapters/write.js";
import { type Circumstances, circumstances } from "../circumstances.js";
import { readArguments } from "../options.js";
import { linePlot } from "../report/plot.js";
import { type Bench, MOST_ADAPTERS, sweepAdapters, sweepStreams } from "./sweep.js";

const OPTIONS = {
  model: text({ initial: "smollm2-135m-instruct" as string, help: "base model" }),
  kind: choice(KINDS, { initial: "smore", help: "kind of the adapters" }),
  threads: integer({ initial: 2, min: 1, max: 1024, help: "threads of the engine" }),
  rounds: integer({ initial: 3, min: 1, max: 100, help: "rounds, of which the best counts" }),
  distinct: integer({
    initial: 16,
    min: 1,
    max: MOST_ADAPTERS,
    help: "adapters with weights of their own; the others are hard links to them",
  }),
  serveArg: list({ placeholder: "ARG", help: "one more argument for smore serve; repeatable" }),
  adapterDir: text({
    initial: join(tmpdir(), "smore-bench-adapters") as string,
    placeholder: "FOLDER",
    help: "where random adapters are made and kept",
  }),
  out: text({ initial: "docs" as string, placeholder: "FOLDER", help: "where the plots go" }),
} as const;

const USAGE = `Usage: npm run bench:plots -- [OPTIONS]

Measures tokens/s over HTTP against the number of streams and of registered adapters, and draws both:
load-streams.svg and load-adapters.svg, with the figures in load.json.

${optionHelp(OPTIONS)}`;

/** An argument as others would give it: paths of this machine are their last part. */
export function withoutFolders(argument: string): string {
  return argument.replace(/(^|=)\/(?:[^/]*\/)*([^/]+)\/*$/, "$1$2");
}

/** The line under a plot: what somebody needs to repeat it. */
export function captionOf(
  command: string,
  { model, kind, threads }: { model: string; kind: string; threads: number },
  { cpu, cpus, commit }: Omit<Circumstances, "date">,
): string {
  const machine = `${threads} threads, server and client on ${cpus} CPUs (${cpu})`;
  return `${command} · ${model}, ${kind} · ${machine} · ${commit}`;
}

export async function plots(args: readonly string[]): Promise<number> {
  const given = readArguments(OPTIONS, USAGE, args);
  if (given === null) return 0;
  const { values } = given;
  const { path: model, name } = await resolveModel(values.model);
  const { kind, distinct, threads, rounds, serveArg: serveArgs } = values;
  const folder = join(values.adapterDir, `${basename(model)}-${kind}-${distinct}`);
  const names = writeAdapters(folder, readBaseShape(model), {
    kind,
    count: MOST_ADAPTERS,
    distinct,
  });
  const adapters = names.map((each) => ({ name: each, path: join(folder, each) }));
  const bench: Bench = { model, threads, rounds, serveArgs, report: console.error };

  const facts = circumstances();
  const command = ["npm run bench:plots --", ...args.map(withoutFolders)].join(" ");
  const settings = { model: name, kind, threads, rounds, distinct, serveArgs };
  const caption = captionOf(command, settings, facts);
  const yLabel = "tokens per second";
  const common = { yLabel, caption, xScale: "log2" } as const;
  mkdirSync(values.out, { recursive: true });
  const streams = await sweepStreams(bench, adapters);
  const byStreams = { title: "Streams at a time", xLabel: "streams", series: streams, ...common };
  writeFileSync(join(values.out, "load-streams.svg"), linePlot(byStreams));
  const registered = await sweepAdapters(bench, adapters);
  const byAdapters = {
    title: "16 streams, by adapters registered",
    xLabel: "adapters registered",
    series: registered,
    ...common,
  };
  writeFileSync(join(values.out, "load-adapters.svg"), linePlot(byAdapters));
  const report = { command, ...facts, ...settings, streams, registered };
  writeFileSync(join(values.out, "load.json"), `${JSON.stringify(report, null, 2)}\n`);
  return 0;
}
