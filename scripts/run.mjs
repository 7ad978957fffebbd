// node scripts/run.mjs MODULE [ARGUMENTS]: set-up, then a compiled module of this project.

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterSetUp, root } from "./setup.mjs";

/**
 * In this very process, so that signals reach it.
 * @param {string} module @param {string[]} args @param {import("./setup.mjs").Wanted} [wanted]
 */
export async function runModule(module, args, wanted) {
  await afterSetUp(() => {
    const file = join(root, module);
    process.argv = [process.execPath, file, ...args];
    return import(pathToFileURL(file).href);
  }, wanted);
}

if (process.argv[1] === import.meta.filename) {
  const [module = "", ...args] = process.argv.slice(2);
  await runModule(module, args);
}
