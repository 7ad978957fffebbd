import { existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { CommandError } from "../../src/cli/command.js";
import { output, type Program } from "../processes.js";
import { type Contestant, type EngineFigures, STREAMS, WORKLOAD } from "./contestant.js";

export type PeerPrograms = (name: string) => Program;

/** A folder with llama.cpp's programs (or bin/, or a script "run" in it), or such a script itself. */
export function findPrograms(path: string): PeerPrograms {
  const place = resolve(path);
  if (!existsSync(place)) throw new CommandError(`${path}: there is no such file or folder`);
  if (!statSync(place).isDirectory()) return (name) => [place, name];
  const script = join(place, "run");
  if (existsSync(script)) return (name) => [script, name];
  const folder = [place, join(place, "bin"), join(place, "build", "bin")].find((each) =>
    existsSync(join(each, "llama-bench")),
  );
  if (folder === undefined) throw new CommandError(`${path}: there is no llama-bench in it`);
  return (name) => [join(folder, name)];
}

export function llamaCpp(
  programs: PeerPrograms,
  threads: number,
  serverArgs: readonly string[] = [],
): Contestant {
  const common = (model: string) => ["-m", model, "-t", String(threads)];
  return {
    name: "llama.cpp",
    async engine(model): Promise<EngineFigures> {
      const { prompt, tokens, shortPrompt } = WORKLOAD;
      const single = ["-p", String(prompt), "-n", String(tokens), "-r", "1", "-o", "json"];
      const rows = JSON.parse(
        await output(programs("llama-bench"), [...common(model), ...single]),
      ) as { n_prompt: number; n_gen: number; avg_ts: number; build_commit: string }[];
      const positions = STREAMS * (shortPrompt + tokens);
      const batched = [
        ...["-npp", String(shortPrompt), "-ntg", String(tokens), "-npl", String(STREAMS)],
        ...["-c", String(positions), "--output-format", "jsonl"],
      ];
      const lines = await output(programs("llama-batched-bench"), [...common(model), ...batched]);
      const [line = ""] = lines.split("\n").filter((each) => each.startsWith("{"));
      return {
        prompt: rows.find(({ n_gen }) => n_gen === 0)!.avg_ts,
        oneStream: rows.find(({ n_prompt }) => n_prompt === 0)!.avg_ts,
        manyStreams: (JSON.parse(line) as { speed_tg: number }).speed_tg,
        build: rows[0]!.build_commit,
      };
    },
    server: (model, streams) => ({
      program: programs("llama-server"),
      args: [
        ...common(model),
        ...["-np", String(streams), "-c", String(streams * WORKLOAD.serverPositions)],
        ...serverArgs,
      ],
    }),
  };
}

/** The model in another format, made once and kept in `folder`. */
export async function quantized(
  programs: PeerPrograms,
  model: string,
  format: string,
  folder: string,
): Promise<string> {
  const made = join(folder, `${basename(model, ".gguf")}-as-${format}.gguf`);
  if (existsSync(made)) return made;
  mkdirSync(folder, { recursive: true });
  const part = `${made}.part`;
  await output(programs("llama-quantize"), ["--allow-requantize", model, part, format]);
  renameSync(part, made);
  return made;
}
