import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, extname, join, resolve } from "node:path";
import { DEFAULT_MODEL } from "../models/catalog.js";
import { resolveModel } from "../models/resolve.js";
import { type Command, CommandError, type Terminal } from "./command.js";
import {
  integer,
  optionHelp,
  parseOptions,
  text,
  toggle,
  UsageError,
  type Values,
} from "./options.js";
import { readExamples } from "./train/data.js";
import { exitOf, preparePython } from "./train/environment.js";

const OPTIONS = {
  model: text({
    initial: DEFAULT_MODEL,
    placeholder: "MODEL",
    help: "the base: a SmolLM2 .gguf file or the name of one in the catalogue",
  }),
  out: text({
    initial: null,
    placeholder: "FOLDER",
    shown: "the file's name without .jsonl",
    help: "folder for checkpoint, adapter, loss curve and scores",
  }),
  steps: integer({ min: 1, max: 100_000, initial: 400, help: "steps of 16 examples" }),
  threads: integer({ min: 1, max: 1024, initial: 2, help: "threads of the training" }),
  seed: integer({ min: 0, max: 2 ** 31 - 1, initial: 1, help: "other seeds draw other batches" }),
  setup: toggle("only make the Python environment"),
} as const;

/** What a run was begun with. A run goes on only with the same. */
interface Begun {
  readonly data: string; // SHA-256
  readonly model: string; // path
  readonly steps: number;
  readonly seed: number;
}

/** From examples to an adapter that can be served. The training itself is models/train. */
export const command: Command = {
  options: OPTIONS,
  operands: "paths",
  usage: `Usage: smore train DATA.jsonl [OPTIONS]

Trains an adapter. Every line of DATA.jsonl is an example: {"prompt": "...", "completion": "..."}. One in five is
kept for the score. The same command goes on where a run was stopped. Training needs Python 3.11 or later, and makes
an environment of its own beside the cache of models.

${optionHelp(OPTIONS)}

Example:
  smore train support.jsonl --out support && smore serve --adapter support=support/adapter`,

  async run(args, terminal) {
    const { values, operands, help } = parseOptions(OPTIONS, args, {});
    if (help) {
      terminal.print(this.usage);
      return 0;
    }
    const [data, extra] = operands;
    if (values.setup) {
      if (data !== undefined) throw new UsageError("--setup takes no file");
      terminal.print(await preparePython(terminal.complain));
      return 0;
    }
    if (data === undefined || extra !== undefined) {
      throw new UsageError("smore train takes one file (smore train --help)");
    }
    return await train(resolve(data), values, terminal);
  },
};

async function train(
  data: string,
  values: Values<typeof OPTIONS>,
  terminal: Terminal,
): Promise<number> {
  const { length } = readExamples(data);
  const out = resolve(values.out ?? basename(data, extname(data)));
  const { path: model } = await resolveModel(values.model);
  const digest = createHash("sha256").update(readFileSync(data)).digest("hex");
  const resumed = begin(out, { data: digest, model, steps: values.steps, seed: values.seed });
  const python = await preparePython(terminal.complain);
  terminal.print(`${length} examples, into ${out}${resumed ? ", going on" : ""}`);
  // A stop is for the training, which the terminal tells of it too: it saves a checkpoint and ends.
  terminal.drainSignal();
  const common = ["--model", model, "--data", data, "--threads", String(values.threads)];
  const plan = ["--steps", String(values.steps), "--seed", String(values.seed)];
  const fit = ["-m", "models.train.fit", ...common, ...plan, "--out", out];
  const fitted = await exitOf(python, resumed ? [...fit, "--resume"] : fit, "inherit");
  if (fitted > 128) terminal.complain("smore: stopped; the same command goes on from here");
  if (fitted !== 0) return fitted;
  const adapter = join(out, "adapter");
  const files = ["--log", join(out, "log.json"), "--json", join(out, "scores.json")];
  const score = ["-m", "models.train.score", ...common, "--adapter", adapter, ...files, "--quiet"];
  const scored = await exitOf(python, score, "inherit");
  if (scored !== 0) return scored;
  const { base, adapter: after, cases } = readScores(join(out, "scores.json"));
  terminal.print(`right on ${cases} examples kept for the score: ${base} before, ${after} after`);
  terminal.print(`loss curve: ${join(out, "loss.svg")}`);
  terminal.print(`serve it:   npm start -- --adapter ${basename(out)}=${adapter}`);
  return 0;
}

/** Notes what the run is begun with. True when it goes on; throws CommandError when it was begun with something else. */
function begin(out: string, begun: Begun): boolean {
  const file = join(out, "run.json");
  const goesOn = existsSync(join(out, "checkpoint.pt"));
  if (goesOn) {
    const before = JSON.parse(readFileSync(file, "utf8")) as Begun;
    const other = (Object.keys(begun) as (keyof Begun)[]).find((key) => before[key] !== begun[key]);
    if (other !== undefined) {
      throw new CommandError(
        `${out} holds a run with other ${other}: give it what it was begun with, or another --out`,
      );
    }
  }
  mkdirSync(out, { recursive: true });
  writeFileSync(file, `${JSON.stringify(begun, null, 2)}\n`);
  return goesOn;
}

function readScores(path: string): { base: string; adapter: string; cases: number } {
  const { base, adapter, cases } = JSON.parse(readFileSync(path, "utf8")) as Record<string, number>;
  const percent = (share = 0) => `${(100 * share).toFixed(1)} %`;
  return { base: percent(base), adapter: percent(adapter), cases: cases ?? 0 };
}
