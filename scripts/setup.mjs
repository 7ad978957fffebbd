// Everything between a fresh clone and a server that runs: dependencies, native addon, TypeScript.
// Each step leaves a stamp of what it was made from, so that a start with nothing to do costs
// milliseconds. Only Node's own modules may be imported: this runs before `npm ci`.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const jobs = String(availableParallelism());
const typescriptRoots = ["src", "test", "loadtest", "models/eval"];

/** A failure that one line explains; nothing else is printed. */
export class SetupError extends Error {}

/**
 * Runs a program in the project's root with its output shown.
 * @param {string} command @param {string[]} args @param {NodeJS.ProcessEnv} [env]
 * @returns {boolean} whether it exited with 0
 */
export function run(command, args, env = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  if (result.error) console.error(`${command}: ${result.error.message}`);
  return result.status === 0;
}

/** @param {string} name @returns {string} the file of a package's command, to be run by Node */
export function packageBin(name) {
  const folder = join(root, "node_modules", name);
  const { bin } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = typeof bin === "string" ? bin : bin[/** @type {string} */ (name.split("/").pop())];
  return join(folder, file ?? Object.values(bin)[0]);
}

/** @param {string} folder @param {(file: string) => boolean} keep @returns {string[]} */
export function filesBelow(folder, keep = () => true) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesBelow(path, keep);
    return keep(path) ? [path] : [];
  });
}

/** Brings the project to where `smore` can run. Throws SetupError. */
export function setUp() {
  checkNode();
  step("node_modules/.smore-stamp", dependencyState(), installDependencies);
  step("build/.smore-stamp", sourceState(nativeSources()), buildAddon);
  step("dist/.smore-stamp", sourceState(typescriptSources()), compileTypescript);
}

/** @param {string} stamp @param {string} state @param {() => void} make */
function step(stamp, state, make) {
  const file = join(root, stamp);
  if (existsSync(file) && readFileSync(file, "utf8") === state) return;
  rmSync(file, { force: true });
  make();
  writeFileSync(file, state);
}

function dependencyState() {
  const lock = readFileSync(join(root, "package-lock.json"));
  const digest = createHash("sha256").update(lock).digest("hex");
  return `${digest} ${process.platform}-${process.arch}`;
}

function nativeSources() {
  return [
    ...filesBelow(join(root, "addon")),
    ...filesBelow(join(root, "cmake")),
    join(root, "CMakeLists.txt"),
  ];
}

function typescriptSources() {
  const folders = typescriptRoots.map((folder) => join(root, folder));
  const code = folders.flatMap((folder) => filesBelow(folder, (file) => file.endsWith(".ts")));
  return [...code, join(root, "tsconfig.json")];
}

/**
 * Times and sizes are enough: a step that runs without need finds that out quickly by itself.
 * @param {string[]} files
 */
function sourceState(files) {
  const hash = createHash("sha256").update(dependencyState());
  for (const file of files.sort()) {
    const { mtimeMs, size } = statSync(file);
    hash.update(`${relative(root, file)} ${mtimeMs} ${size}\n`);
  }
  return hash.digest("hex");
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetupError(
      `Node.js ${process.versions.node} is too old: 20.19 or later is needed, from https://nodejs.org`,
    );
  }
}

function installDependencies() {
  if (spawnSync("npm", ["--version"]).status !== 0) {
    throw new SetupError(
      "npm is missing: it comes with Node.js from https://nodejs.org (Debian: apt-get install npm)",
    );
  }
  console.error("smore: installing dependencies");
  // The package of ONNX Runtime holds its CPU libraries; its install script would fetch others.
  const env = { ONNXRUNTIME_NODE_INSTALL: "skip" };
  if (!run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], env)) {
    throw new SetupError("npm ci failed; what it printed is above");
  }
}

function checkNativeTools() {
  const compiler = process.env.CXX ?? "c++";
  const program = "#include <bit>\n#include <concepts>\n#include <span>\nint main() {}\n";
  const flags = ["-std=c++20", "-fsyntax-only", "-x", "c++", "-"];
  if (spawnSync(compiler, flags, { input: program }).status !== 0) {
    throw new SetupError(
      `a C++20 compiler is missing ("${compiler}" is none): g++ 11 or clang 14 or later ` +
        "(Debian: apt-get install g++; another one: set CXX)",
    );
  }
  const cmake = spawnSync("cmake", ["--version"], { encoding: "utf8" });
  const [, major = "0", minor = "0"] = /version (\d+)\.(\d+)/.exec(cmake.stdout ?? "") ?? [];
  if (Number(major) * 100 + Number(minor) < 320) {
    throw new SetupError(
      "CMake 3.20 or later is missing: https://cmake.org/download (Debian: apt-get install cmake)",
    );
  }
  const hasNinja = spawnSync("ninja", ["--version"]).status === 0;
  if (!hasNinja && spawnSync("make", ["--version"]).status !== 0) {
    throw new SetupError("make is missing: apt-get install make (or ninja-build)");
  }
}

function buildAddon() {
  checkNativeTools();
  console.error("smore: building the engine (minutes the first time)");
  const cmakeJs = [packageBin("cmake-js"), "build", "--target", "smore", "--parallel", jobs];
  const args = [...cmakeJs, "--log-level", "warn"];
  if (!run(process.execPath, args)) {
    throw new SetupError("the native build failed; what it printed is above");
  }
}

function compileTypescript() {
  console.error("smore: compiling TypeScript");
  if (!run(process.execPath, [packageBin("typescript"), "--project", "tsconfig.json"])) {
    throw new SetupError("TypeScript found errors; they are above");
  }
  removeOutputsWithoutSource();
}

/** A test whose source is gone must not run. */
function removeOutputsWithoutSource() {
  const dist = join(root, "dist");
  for (const file of filesBelow(dist, (name) => /\.js(\.map)?$/.test(name))) {
    const source = join(root, relative(dist, file)).replace(/\.js(\.map)?$/, ".ts");
    if (!existsSync(source)) rmSync(file);
  }
}

/** Runs `main` after set-up; a SetupError becomes its one line. @param {() => unknown} main */
export async function afterSetUp(main) {
  try {
    setUp();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`smore: ${error.message}`);
    process.exit(1);
  }
  await main();
}
