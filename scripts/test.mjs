// npm test [-- PART...]: set-up, then every check that can run here, each by its name, and a closing
// line for each. The sanitizers have a build of their own. Nothing is downloaded but packages.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { lint } from "./lint.mjs";
import { afterSetUp, filesBelow, jobs, root, run } from "./setup.mjs";

/** @type {Record<string, () => boolean | string | Promise<boolean | string>>} true, false, or why it could not run here */
const parts = {
  lint: () => lint(false),
  cpp: () =>
    nativeTests("build", ["-DSMORE_SANITIZE=", "-DSMORE_WERROR=ON"], "smore_tests", [
      "smore_tests",
      "smore_benches",
    ]),
  sanitizers: () => nativeTests("build/asan", ["--preset", "asan"]),
  threads: () => nativeTests("build/tsan", ["--preset", "tsan"], "smore_threads"),
  gpu: gpuTests,
  arm64: armTests,
  train: trainingTests,
  node: nodeTests,
};

/** @param {string} folder @param {string[]} configure */
function nativeTests(folder, configure, test = "smore_tests", targets = ["smore_tests"]) {
  const build = join(root, folder);
  if (!run("cmake", ["-B", build, ...configure, "--log-level=WARNING"])) return false;
  if (!hasDoctest(build)) return "doctest is not installed (Debian: apt-get install doctest-dev)";
  return (
    run("cmake", ["--build", build, "--target", ...targets, "--parallel", jobs]) &&
    run("ctest", ["--test-dir", build, "--output-on-failure", "-R", `^${test}$`], {
      ASAN_OPTIONS: "detect_leaks=1:abort_on_error=1",
      UBSAN_OPTIONS: "print_stacktrace=1",
    })
  );
}

/** The unit tests over a GPU, and those of its kernels under CUDA's own sanitizer where that is installed. */
async function gpuTests() {
  const { nativeModule } = await import(
    pathToFileURL(join(root, "dist/src/engine/engine.js")).href
  );
  if (nativeModule().cudaDevices().length === 0) return "there is no GPU that can be used";
  const tests = nativeTests(
    "build",
    ["-DSMORE_SANITIZE=", "-DSMORE_WERROR=ON"],
    "smore_gpu_tests",
    ["smore_gpu_tests"],
  );
  if (tests !== true) return tests;
  if (spawnSync("compute-sanitizer", ["--version"]).status !== 0) {
    console.log(
      "compute-sanitizer of the CUDA toolkit is not there: memory and races go unchecked",
    );
    return true;
  }
  const program = [
    join(root, "build/smore_gpu_tests"),
    "--source-file=*kernels_*,*llama_*,*readout_*,*engine_ahead*,*residual_golden*,*device_tier*",
  ];
  return ["memcheck", "racecheck", "synccheck"].every((tool) =>
    run("compute-sanitizer", ["--tool", tool, "--error-exitcode", "1", ...program]),
  );
}

/** Built for 64-bit Arm, run by an emulator. */
function armTests() {
  for (const tool of ["aarch64-linux-gnu-g++", "qemu-aarch64-static"]) {
    if (spawnSync(tool, ["--version"]).status !== 0) {
      return `there is no ${tool} (Debian: apt-get install g++-aarch64-linux-gnu qemu-user-static)`;
    }
  }
  return nativeTests("build/arm64", ["--preset", "arm64"]);
}

/** @param {string} build */
function hasDoctest(build) {
  const cache = readFileSync(join(build, "CMakeCache.txt"), "utf8");
  return /^DOCTEST_INCLUDE_DIR:PATH=(?!.*NOTFOUND)/m.test(cache);
}

async function trainingTests() {
  const tests = (/** @type {string} */ python, /** @type {string} */ folder) =>
    run(python, ["-m", "unittest", "discover", "-s", `models/train/tests/${folder}`, "-t", "."]);
  if (!tests("python3", "tasks")) return false;
  const environment = pathToFileURL(join(root, "dist/src/cli/train/environment.js"));
  const python = (await import(environment.href)).preparedPython();
  if (python !== null) return tests(python, "training");
  console.log(
    "tests of the mathematics are skipped: npm run smore -- train --setup makes what they need",
  );
  return true;
}

async function nodeTests() {
  const files = filesBelow(join(root, "dist"), (file) => file.endsWith(".test.js"));
  const model = process.env.SMORE_TEST_MODEL ?? (await defaultModelPath());
  const found = existsSync(model);
  if (!found) console.log(`tests of the default model are skipped: ${model} is not there`);
  // Most files start a server of their own, so that as many as there are processors would starve each other.
  const concurrency = Math.max(1, Math.floor(Number(jobs) / 2));
  const options = [
    ...["--test", "--test-reporter=spec", "--enable-source-maps"],
    `--test-concurrency=${concurrency}`,
  ];
  const env = found ? { SMORE_TEST_MODEL: model } : {};
  return run(process.execPath, [...options, ...files], env);
}

/** Where `smore pull` leaves it. */
async function defaultModelPath() {
  const catalog = await import(pathToFileURL(join(root, "dist/src/models/catalog.js")).href);
  const { source } = catalog.readCatalog().get(catalog.DEFAULT_MODEL);
  return catalog.cachedPath(catalog.parseSource(source), catalog.cacheFolder());
}

const HELP = `Usage: npm test [-- PART...]

  lint        format and lint (npm run format repairs the format)
  cpp         unit tests of the engine, and that its benches build; they need doctest (Debian:
              apt-get install doctest-dev)
  sanitizers  the same under the address and undefined-behaviour sanitizers
  threads     those of the thread pool and the adapters' cache under the thread sanitizer
  gpu         the unit tests over a GPU where one can be used, and those of its kernels under
              compute-sanitizer where that is installed
  arm64       the unit tests for 64-bit Arm, under an emulator; they need a cross compiler and qemu
              (Debian: apt-get install g++-aarch64-linux-gnu qemu-user-static)
  train       tests of the training tasks and of what checks their answers, with Python alone; of the
              mathematics too where its Python environment is (npm run smore -- train --setup)
  node        tests of the server over real sockets; those of the default model need it in the cache
              (npm run smore -- pull) or at SMORE_TEST_MODEL

Without a PART all run. Exit code 0 when none failed.`;

const asked = process.argv.slice(2);
if (asked.includes("--help") || asked.includes("-h")) {
  console.log(HELP);
  process.exit(0);
}
await afterSetUp(
  async () => {
    const unknown = asked.find((name) => !Object.hasOwn(parts, name));
    if (unknown !== undefined) {
      console.error(`no such part: ${unknown}; parts are ${Object.keys(parts).join(", ")}`);
      process.exit(2);
    }
    const lines = [];
    for (const [name, check] of Object.entries(parts)) {
      if (asked.length > 0 && !asked.includes(name)) continue;
      console.log(`\n== ${name}`);
      const started = performance.now();
      const result = await check();
      const seconds = ((performance.now() - started) / 1000).toFixed(0);
      const verdict = result === true ? "passed" : result === false ? "FAILED" : "skipped";
      const reason = typeof result === "string" ? `: ${result}` : "";
      if (result === false) process.exitCode = 1;
      lines.push(`${name}: ${verdict}${reason} (${seconds} s)`);
    }
    console.log(`\n${lines.join("\n")}`);
  },
  { strict: true },
);
