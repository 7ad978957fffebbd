import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { olderFormatFault } from "../models/adapter-files.js";
import { resolveModel } from "../models/resolve.js";
import { type Command, CommandError, type Terminal } from "./command.js";
import { native } from "./engine.js";
import { describe } from "./inspect/describe.js";
import { heatMap } from "./inspect/heat-map.js";
import { readRouting } from "./inspect/routing.js";
import { describeRouting } from "./inspect/routing-report.js";
import { optionHelp, parseOptions, text, toggle, UsageError } from "./options.js";

const OPTIONS = {
  tensors: toggle("list every tensor"),
  json: toggle("print all there is to know as JSON"),
  routing: toggle("PATH holds answers with routing: show how experts are used"),
  picture: text({
    initial: null,
    placeholder: "FILE",
    shown: "none",
    help: "with --routing, a heat map (SVG) too",
  }),
} as const;

/** Shows what a model or adapter is, without serving it. */
export const command: Command = {
  options: OPTIONS,
  operands: "paths",
  usage: `Usage: smore inspect PATH [OPTIONS]

Shows a model (a .gguf file, a Hugging Face folder or a catalogue name) or an adapter folder: shapes, the
tree of experts, parameters and memory. With --routing, PATH is a JSON or JSONL file of answers that a server gave to
requests with "return_routing": true: how often experts are chosen, by level and layer, how consistently (SRP, SCH), and
what a cache of them would hold.

${optionHelp(OPTIONS)}

Examples:
  smore inspect models/adapters/function-calls
  smore inspect ./Llama-3.2-1B-Instruct.Q4_K_M.gguf --tensors
  smore inspect answers.jsonl --routing --picture routing.svg`,

  async run(args, terminal) {
    const { values, operands, help } = parseOptions(OPTIONS, args, {});
    if (help) {
      terminal.print(this.usage);
      return 0;
    }
    const [given, extra] = operands;
    if (given === undefined || extra !== undefined) {
      throw new UsageError("smore inspect takes one path (smore inspect --help)");
    }
    if (values.routing) return showRouting(given, values.picture, terminal);
    if (values.picture !== null) throw new UsageError("--picture goes with --routing");
    refuseFolderOfAdapters(given);
    const older = await olderFormatFault(given);
    if (older !== null) throw new CommandError(older);
    const path = existsSync(given) ? given : (await resolveModel(given)).path;
    const told = await native().inspect(path);
    if (values.json) terminal.print(told);
    else for (const line of describe(JSON.parse(told), values.tensors)) terminal.print(line);
    return 0;
  },
};

function showRouting(path: string, picture: string | null, terminal: Terminal): number {
  const surveys = readRouting(path);
  for (const survey of surveys) {
    for (const line of describeRouting(survey)) terminal.print(line);
  }
  const [first, second] = surveys;
  if (picture === null) return 0;
  if (second !== undefined) {
    throw new CommandError(`${path} tells of several adapters; a picture is of one`);
  }
  writeFileSync(picture, heatMap(first!));
  return 0;
}

/** What --adapters-dir takes is easily taken for an adapter. */
function refuseFolderOfAdapters(path: string): void {
  const holds = (folder: string) => existsSync(join(folder, "adapter_config.json"));
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true || holds(path)) return;
  const adapter = readdirSync(path)
    .map((name) => join(path, name))
    .find(holds);
  if (adapter === undefined) return;
  throw new CommandError(`${path}: a folder of adapters; inspect one of them, such as ${adapter}`);
}
