import { CommandError } from "../../src/cli/command.js";
import { loadTest } from "../client/command.js";
import { CLIENT_OPTIONS, type ClientOptions } from "../client/options.js";
import { optionDefaults } from "../options.js";
import { withServer } from "../processes.js";
import { type Contestant, STREAMS, WORKLOAD } from "./contestant.js";

/** Tokens per second of one contestant in one round. */
export interface Figures {
  readonly oneStream: number;
  readonly manyStreams: number;
  readonly prompt: number;
  readonly httpManyStreams: number;
  readonly httpOneStream: number;
}
export type Case = keyof Figures;

export interface Entry {
  readonly name: string;
  readonly build: string;
  readonly rounds: readonly Figures[];
  readonly best: Figures;
}

const REQUESTS_PER_STREAM = 4;
const LEAST_REQUESTS = 8;

/**
 * Both contestants on one file, in turn: engine against engine, then server against server. Who begins
 * changes with the round, so that a machine that tires or warms up favours nobody.
 */
export async function race(
  contestants: readonly [Contestant, Contestant],
  model: string,
  rounds: number,
  report: (line: string) => void,
): Promise<Entry[]> {
  const figures = new Map<Contestant, Figures[]>(contestants.map((each) => [each, []]));
  const builds = new Map<Contestant, string>();
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? contestants : contestants.toReversed();
    const engines = new Map<Contestant, Pick<Figures, "oneStream" | "manyStreams" | "prompt">>();
    for (const contestant of order) {
      const { build, ...measured } = await contestant.engine(model);
      engines.set(contestant, measured);
      builds.set(contestant, build);
    }
    for (const contestant of order) {
      const httpOneStream = await overHttp(contestant, model, 1);
      const httpManyStreams = await overHttp(contestant, model, STREAMS);
      const all = { ...engines.get(contestant)!, httpOneStream, httpManyStreams };
      figures.get(contestant)!.push(all);
      const shown = Object.entries(all).map(([name, value]) => `${name} ${value.toFixed(1)}`);
      report(`round ${round + 1} of ${rounds}, ${contestant.name}: ${shown.join(", ")}`);
    }
  }
  return contestants.map((contestant) => {
    const { name } = contestant;
    const own = figures.get(contestant)!;
    return { name, build: builds.get(contestant)!, rounds: own, best: bestOf(own) };
  });
}

async function overHttp(contestant: Contestant, model: string, streams: number): Promise<number> {
  const { program, args, timeout } = contestant.server(model, streams);
  const measured = async (baseUrl: string) => {
    const options: ClientOptions = {
      ...optionDefaults(CLIENT_OPTIONS),
      baseUrl,
      maxConcurrency: streams,
      numPrompts: Math.max(LEAST_REQUESTS, streams * REQUESTS_PER_STREAM),
      numWarmups: streams,
      randomInputLen: WORKLOAD.promptWords,
      randomOutputLen: WORKLOAD.tokens,
      ignoreEos: true,
    };
    const { result, block } = await loadTest(options);
    if (result.failed > 0) throw new CommandError(`${contestant.name} over HTTP:\n${block}`);
    return result.output_throughput;
  };
  return withServer(program, args, measured, timeout);
}

/** Of each case by itself. */
function bestOf(rounds: readonly Figures[]): Figures {
  const best = (key: Case) => Math.max(...rounds.map((figures) => figures[key]));
  return {
    oneStream: best("oneStream"),
    manyStreams: best("manyStreams"),
    prompt: best("prompt"),
    httpManyStreams: best("httpManyStreams"),
    httpOneStream: best("httpOneStream"),
  };
}
