import { CommandError } from "../../src/cli/command.js";
import { output, SMORE } from "../processes.js";
import { type Contestant, STREAMS, WORKLOAD } from "./contestant.js";

interface BenchReport {
  readonly kernelPath: string;
  readonly results: readonly { readonly name: string; readonly tokensPerSecond: number }[];
}

export function ours(threads: number): Contestant {
  const common = (model: string) => ["--model", model, "--threads", String(threads)];
  return {
    name: "smore",
    async engine(model) {
      const { prompt, tokens } = WORKLOAD;
      const sizes = ["--prompt", String(prompt), "--tokens", String(tokens)];
      const once = ["--max-batch", String(STREAMS), "--repeat", "1", "--json"];
      const report = JSON.parse(
        await output(SMORE, ["bench", ...common(model), ...sizes, ...once]),
      ) as BenchReport;
      const figure = (name: string) => {
        const found = report.results.find((result) => result.name === name);
        if (found === undefined) throw new CommandError(`smore bench has no result "${name}"`);
        return found.tokensPerSecond;
      };
      return {
        prompt: figure(`prompt ${prompt}, base`),
        oneStream: figure("1 stream, base"),
        manyStreams: figure(`${STREAMS} streams, base`),
        build: report.kernelPath,
      };
    },
    server: (model) => ({
      program: SMORE,
      args: ["serve", ...common(model), "--log-level", "error"],
      timeout: null,
    }),
  };
}
