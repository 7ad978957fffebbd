import { DEFAULT_MODEL, readCatalog } from "../models/catalog.js";
import { resolveModel } from "../models/resolve.js";
import type { Command } from "./command.js";
import { parseOptions, UsageError } from "./options.js";

const names = [...readCatalog()]
  .map(([name, { source, license }]) => `  ${name} (${license}, ${source.split("#")[0]})`)
  .join("\n");

/** Fetches a model into the cache, where `smore serve --model` finds it, and prints its path. */
export const command: Command = {
  options: {},
  operands: [...readCatalog().keys()],
  usage: `Usage: smore pull [NAME]

Fetches a model into the cache (SMORE_MODEL_CACHE) and prints its path. NAME is one of the catalogue,
by default ${DEFAULT_MODEL}, or hf:ORG/REPO/FILE:

${names}

Examples:
  smore pull
  smore pull hf:ORG/REPO/model.Q4_K_M.gguf`,

  async run(args, terminal) {
    const { operands, help } = parseOptions({}, args, terminal.environment);
    if (help) {
      terminal.print(this.usage);
      return 0;
    }
    const [name = DEFAULT_MODEL, extra] = operands;
    if (extra !== undefined) throw new UsageError(`smore pull takes one name, not also "${extra}"`);
    const { path } = await resolveModel(name);
    terminal.print(path);
    return 0;
  },
};
