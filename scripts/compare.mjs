// npm run compare [-- OPTIONS]: set-up and the Python environment of `smore train`, then models/compare.

import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterSetUp, root } from "./setup.mjs";

/** @param {string} module of dist/src */
const compiled = (module) => import(pathToFileURL(join(root, "dist/src", module)).href);

await afterSetUp(
  async () => {
    const { preparePython, environmentFolder } = await compiled("cli/train/environment.js");
    const { DEFAULT_MODEL } = await compiled("models/catalog.js");
    const { resolveModel } = await compiled("models/resolve.js");
    const { path } = await resolveModel(DEFAULT_MODEL);
    const python = await preparePython(console.error);
    const work = join(dirname(environmentFolder()), "compare");
    const compare = ["-m", "models.compare", "--model", path, "--work", work];
    const options = [...compare, ...process.argv.slice(2)];
    const child = spawn(python, options, { cwd: root, stdio: "inherit" });
    // The run saves a checkpoint and ends by itself; a terminal's Ctrl-C reaches it anyway.
    process.on("SIGINT", () => {});
    process.on("SIGTERM", () => child.kill("SIGTERM"));
    child.on("exit", (code) => {
      process.exitCode = code ?? 1;
    });
  },
  { defaultModel: true },
);
