import { existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { CommandError } from "../../src/cli/command.js";
import { integer, UsageError } from "../../src/cli/options.js";
import { commandLine, output, type Program } from "../processes.js";
import { type Contestant, type EngineFigures, STREAMS, WORKLOAD } from "./contestant.js";

export type PeerPrograms = (name: string) => Program;

export const PEER_TIMEOUT = integer({
  initial: 1800,
  min: 1,
  max: 1_000_000,
  placeholder: "SECONDS",
  help: "how long one run of llama.cpp's programs may take",
});

/** A row of llama-bench. */
interface BenchRow {
  readonly n_prompt: number;
  readonly n_gen: number;
  readonly avg_ts: number;
  readonly build_commit: string;
}

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
  timeout: number,
  serverArgs: readonly string[] = [],
): Contestant {
  const common = (model: string) => ["-m", model, "-t", String(threads)];
  return {
    name: "llama.cpp",
    async engine(model): Promise<EngineFigures> {
      const { prompt, tokens, shortPrompt } = WORKLOAD;
      const single = ["-p", String(prompt), "-n", String(tokens), "-r", "1", "-o", "json"];
      const rows = await figures(
        programs("llama-bench"),
        [...common(model), ...single],
        timeout,
        readRows,
        "rows with n_prompt, n_gen, avg_ts and build_commit",
      );
      const positions = STREAMS * (shortPrompt + tokens);
      const batched = [
        ...["-npp", String(shortPrompt), "-ntg", String(tokens), "-npl", String(STREAMS)],
        ...["-c", String(positions), "--output-format", "jsonl"],
      ];
      const manyStreams = await figures(
        programs("llama-batched-bench"),
        [...common(model), ...batched],
        timeout,
        readSpeed,
        "line with speed_tg",
      );
      return {
        prompt: rows.prompt.avg_ts,
        oneStream: rows.oneStream.avg_ts,
        manyStreams,
        build: rows.prompt.build_commit,
      };
    },
    server: (model, streams) => ({
      program: programs("llama-server"),
      args: [
        ...common(model),
        ...["-np", String(streams), "-c", String(streams * WORKLOAD.serverPositions)],
        ...serverArgs,
      ],
      timeout,
    }),
  };
}

/** What `reader` finds in what a program prints. Throws UsageError where that is null. */
async function figures<Value>(
  program: Program,
  args: readonly string[],
  timeout: number,
  reader: (text: string) => Value | null,
  expected: string,
): Promise<Value> {
  const found = reader(await output(program, args, timeout));
  if (found !== null) return found;
  const command = commandLine(program, args);
  throw new UsageError(`${command}: printed no JSON ${expected}, as llama.cpp's does`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function readRows(text: string): { prompt: BenchRow; oneStream: BenchRow } | null {
  const rows = parse(text);
  if (!Array.isArray(rows)) return null;
  const whole = rows.filter(
    (row: Partial<BenchRow> | null): row is BenchRow =>
      typeof row?.avg_ts === "number" && typeof row.build_commit === "string",
  );
  const prompt = whole.find(({ n_gen }) => n_gen === 0);
  const oneStream = whole.find(({ n_prompt }) => n_prompt === 0);
  return prompt && oneStream ? { prompt, oneStream } : null;
}

function readSpeed(text: string): number | null {
  const [line = ""] = text.split("\n").filter((each) => each.startsWith("{"));
  const found = parse(line) as { readonly speed_tg?: unknown } | null;
  return typeof found?.speed_tg === "number" ? found.speed_tg : null;
}

/** The model in another format, made once and kept in `folder`. */
export async function quantized(
  programs: PeerPrograms,
  model: string,
  format: string,
  folder: string,
  timeout: number,
): Promise<string> {
  const made = join(folder, `${basename(model, ".gguf")}-as-${format}.gguf`);
  if (existsSync(made)) return made;
  mkdirSync(folder, { recursive: true });
  const part = `${made}.part`;
  const program = programs("llama-quantize");
  const args = ["--allow-requantize", model, part, format];
  await output(program, args, timeout);
  if (!existsSync(part)) {
    throw new UsageError(`${commandLine(program, args)}: wrote no file, as llama.cpp's does`);
  }
  renameSync(part, made);
  return made;
}
