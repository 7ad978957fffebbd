// npm run lint, npm run format (--write): Biome for TypeScript, clang-format for C++.

import { createRequire } from "node:module";
import { join } from "node:path";
import { afterSetUp, filesBelow, packageBin, root, run } from "./setup.mjs";

/** @param {boolean} write whether to repair what can be repaired */
export function lint(write) {
  const biome = [packageBin("@biomejs/biome"), "check", "--error-on-warnings"];
  const typescript = run(process.execPath, write ? [...biome, "--write"] : biome);
  return clangFormat(write) && typescript;
}

/** @param {boolean} write */
function clangFormat(write) {
  const files = filesBelow(join(root, "addon"), (file) => /\.(cc|h|inl)$/.test(file));
  if (files.length === 0) return true;
  return run(clangFormatBinary(), [...(write ? ["-i"] : ["--dry-run", "--Werror"]), ...files]);
}

/** The package's own, one version for everybody; where it has none, the machine's. */
function clangFormatBinary() {
  const { getNativeBinary } = createRequire(import.meta.url)("clang-format");
  try {
    return getNativeBinary();
  } catch {
    return "clang-format";
  }
}

if (process.argv[1] === import.meta.filename) {
  await afterSetUp(() => {
    if (!lint(process.argv.includes("--write"))) process.exitCode = 1;
  });
}
