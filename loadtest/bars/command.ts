import { writeFileSync } from "node:fs";
import { integer, optionHelp, text } from "../../src/cli/options.js";
import { circumstances } from "../circumstances.js";
import { outputFile, readArguments } from "../options.js";
import { type EngineFigures, measureEngine, measureRefusals } from "./engine.js";
import { measureFeatures } from "./features.js";
import { type FrontFigures, measureFront } from "./front.js";

const OPTIONS = {
  events: integer({ initial: 400, min: 10, max: 100_000, help: "events of each of 256 streams" }),
  rounds: integer({
    initial: 3,
    min: 1,
    max: 100,
    help: "times that each side is measured; the best counts",
  }),
  requests: integer({
    initial: 100,
    min: 10,
    max: 100_000,
    help: "small requests whose first token is timed",
  }),
  model: text({
    initial: null,
    placeholder: "MODEL",
    help: "as smore serve has it",
    shown: "the default model",
  }),
  output: outputFile("write the figures as JSON"),
} as const;

const USAGE = `Usage: npm run bench:http -- [OPTIONS]

Measures the HTTP side: first in front of an engine that costs nothing, beside a process with nothing but uWebSockets
that writes the same bytes to the same client; then the whole server. It starts the servers itself. The
figures of a machine that does other things meanwhile say little. Exit code 1 when a bar is missed.

${optionHelp(OPTIONS)}`;

interface Bar {
  readonly what: string;
  readonly figure: string;
  readonly bar: string;
  readonly kept: boolean | null; // null: it is only told
}

export async function bars(args: readonly string[]): Promise<number> {
  const given = readArguments(OPTIONS, USAGE, args);
  if (given === null) return 0;
  const { events, rounds, requests, model, output } = given.values;
  console.log(line("what", "figure", "bar"));
  const front = await measureFront(events, rounds);
  const told = frontBars(front);
  for (const bar of told) print(bar);
  const engines: EngineFigures[] = [];
  for (const threads of [1, 2]) {
    const figures = await measureEngine(model, threads, requests);
    engines.push(figures);
    for (const bar of engineBars(figures)) {
      told.push(bar);
      print(bar);
    }
  }
  const [refusals, featureBytes] = [await measureRefusals(model), await measureFeatures(model)];
  for (const bar of lastBars(refusals, featureBytes)) {
    told.push(bar);
    print(bar);
  }
  if (output !== null) {
    const report = { ...circumstances(), front, engines, refusals, featureBytes, bars: told };
    writeFileSync(output, `${JSON.stringify(report, null, 2)}\n`);
  }
  return told.some(({ kept }) => kept === false) ? 1 : 0;
}

function frontBars({ served, bare, livez, idleBytes }: FrontFigures): Bar[] {
  const events = served.eventsPerSecond / bare.eventsPerSecond;
  const alive = livez.served / livez.bare;
  const thousands = (perSecond: number) => `${(perSecond / 1000).toFixed(1)}k/s`;
  const megabytes = idleBytes / 1e6;
  return [
    {
      what: "events of 256 streams, to bare uWebSockets",
      figure: `${events.toFixed(2)} (${thousands(served.eventsPerSecond)})`,
      bar: ">= 0.6",
      kept: events >= 0.6,
    },
    {
      what: "server's CPU per token",
      figure: `${served.cpuMicrosecondsPerEvent.toFixed(1)} us (bare ${bare.cpuMicrosecondsPerEvent.toFixed(1)})`,
      bar: "",
      kept: null,
    },
    {
      what: "/livez, to bare uWebSockets",
      figure: `${alive.toFixed(2)} (${thousands(livez.served)})`,
      bar: ">= 0.8",
      kept: alive >= 0.8,
    },
    {
      what: "2,000 connections and 500 WebSockets",
      figure: `${megabytes.toFixed(0)} MB`,
      bar: "< 100",
      kept: megabytes < 100,
    },
  ];
}

function engineBars(figures: EngineFigures): Bar[] {
  const { threads, deliveryP50, deliveryP99, idleTtftP99, mixedTtftP99, scrapeP99 } = figures;
  const inTime = (100 * figures.deliveredIn1Ms).toFixed(1);
  const ratio = mixedTtftP99 / idleTtftP99;
  const one = threads === 1;
  return [
    {
      what: `token to socket, 16 streams, ${threads} threads`,
      figure: `p50 <= ${deliveryP50}, p99 <= ${deliveryP99} ms; ${inTime} % in 1 ms`,
      bar: one ? "p99 < 1 ms" : "",
      kept: one ? deliveryP99 <= 1 : null,
    },
    {
      what: `64 streams, ${threads} threads`,
      figure: figures.streams64 ? "all complete" : "NOT all complete",
      bar: "all",
      kept: figures.streams64,
    },
    {
      what: `p99 of /metrics meanwhile, ${threads} threads`,
      figure: `${scrapeP99.toFixed(1)} ms`,
      bar: "< 10 ms",
      kept: scrapeP99 < 10,
    },
    {
      what: `p99 of first tokens amid others, ${threads} threads`,
      figure: `${ratio.toFixed(1)} x idle (${mixedTtftP99.toFixed(0)} / ${idleTtftP99.toFixed(0)} ms)`,
      bar: "<= 5 x",
      kept: ratio <= 5,
    },
  ];
}

function lastBars(refusals: number, featureBytes: number): Bar[] {
  return [
    {
      what: "p99 of refusals in a burst of 200",
      figure: `${refusals.toFixed(0)} ms`,
      bar: "< 250 ms",
      kept: refusals < 250,
    },
    {
      what: "a grammar and a sentence encoder",
      figure: `${(featureBytes / 1e6).toFixed(0)} MB`,
      bar: "<= 200 MB",
      kept: featureBytes <= 200e6,
    },
  ];
}

function print({ what, figure, bar, kept }: Bar): void {
  console.log(line(what, figure, `${bar}${kept === false ? "  MISSED" : ""}`));
}

function line(what: string, figure: string, bar: string): string {
  return `${what.padEnd(46)}${figure.padEnd(40)}${bar}`;
}
