// npm run lint, npm run format (--write): Biome for TypeScript, clang-format for C++.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { join, relative } from "node:path";
import { afterSetUp, filesBelow, packageBin, root, run } from "./setup.mjs";

/** @param {boolean} write whether to repair what can be repaired */
export function lint(write) {
  const biome = [packageBin("@biomejs/biome"), "check", "--error-on-warnings"];
  const typescript = run(process.execPath, write ? [...biome, "--write"] : biome);
  return clangFormat(write) && typescript;
}

/** @param {boolean} write */
function clangFormat(write) {
  const files = filesBelow(join(root, "addon"), (file) => /\.(cc|cu|h|inl)$/.test(file));
  if (files.length === 0) return true;
  if (write) return run(clangFormatBinary(), ["-i", ...files]);
  const options = { encoding: /** @type {const} */ ("utf8"), maxBuffer: 1 << 28 };
  const check = spawnSync(clangFormatBinary(), ["--dry-run", "--Werror", ...files], options);
  if (check.status === 0) return true;
  const unformatted = unformattedFiles(check.stderr ?? "");
  for (const file of unformatted) console.error(`${relative(root, file)}: not formatted`);
  if (unformatted.length > 0) console.error("npm run format repairs this");
  else console.error(check.error?.message ?? check.stderr);
  return false;
}

/** clang-format complains of every place; a file's name once is enough. @param {string} complaints */
export function unformattedFiles(complaints) {
  const places = complaints.matchAll(/^(.+?):\d+:\d+: error: .*-Wclang-format-violations/gm);
  return [...new Set([...places].map(([, file]) => /** @type {string} */ (file)))];
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
