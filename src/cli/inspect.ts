import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { resolveModel } from "../models/resolve.js";
import { type Command, CommandError } from "./command.js";
import { native } from "./engine.js";
import { describe } from "./inspect/describe.js";
import { optionHelp, parseOptions, toggle, UsageError } from "./options.js";

const OPTIONS = {
  tensors: toggle("list every tensor"),
  json: toggle("print all there is to know as JSON"),
} as const;

/** Shows what a model or adapter is, without serving it. */
export const command: Command = {
  options: OPTIONS,
  operands: "paths",
  usage: `Usage: smore inspect PATH [OPTIONS]

Shows a model (a .gguf file, a Hugging Face folder or a catalogue name) or an adapter folder: shapes, the
tree of experts, parameters and memory.

${optionHelp(OPTIONS)}

Examples:
  smore inspect models/adapters/function-calls
  smore inspect ./Llama-3.2-1B-Instruct.Q4_K_M.gguf --tensors`,

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
    refuseFolderOfAdapters(given);
    const path = existsSync(given) ? given : (await resolveModel(given)).path;
    const text = await native().inspect(path);
    if (values.json) terminal.print(text);
    else for (const line of describe(JSON.parse(text), values.tensors)) terminal.print(line);
    return 0;
  },
};

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
