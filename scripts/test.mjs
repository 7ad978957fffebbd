// npm test [-- PART...]: set-up, then every check that can run here, each by its name, and a closing
// line for each. The sanitizers have a build of their own. Nothing is downloaded but packages.

import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { lint } from "./lint.mjs";
import { afterSetUp, filesBelow, jobs, root, run } from "./setup.mjs";

const DEFAULT_MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf";

/** @type {Record<string, () => boolean | string>} true, false, or why it could not run here */
const parts = {
  lint: () => lint(false),
  cpp: () => nativeTests("build", ["-DSMORE_SANITIZE="]),
  sanitizers: () => nativeTests("build/asan", ["--preset", "asan"]),
  node: nodeTests,
};

/** @param {string} folder @param {string[]} configure */
function nativeTests(folder, configure) {
  const build = join(root, folder);
  if (!run("cmake", ["-B", build, ...configure, "--log-level=WARNING"])) return false;
  if (!hasDoctest(build)) return "doctest is not installed (Debian: apt-get install doctest-dev)";
  return (
    run("cmake", ["--build", build, "--target", "smore_tests", "--parallel", jobs]) &&
    run("ctest", ["--test-dir", build, "--output-on-failure"], {
      ASAN_OPTIONS: "detect_leaks=1:abort_on_error=1",
      UBSAN_OPTIONS: "print_stacktrace=1",
    })
  );
}

/** @param {string} build */
function hasDoctest(build) {
  const cache = readFileSync(join(build, "CMakeCache.txt"), "utf8");
  return /^DOCTEST_INCLUDE_DIR:PATH=(?!.*NOTFOUND)/m.test(cache);
}

function nodeTests() {
  const files = filesBelow(join(root, "dist"), (file) => file.endsWith(".test.js"));
  const cache = process.env.SMORE_MODEL_CACHE ?? join(homedir(), ".cache/smore/models");
  const model = process.env.SMORE_TEST_MODEL ?? join(cache, DEFAULT_MODEL);
  const env = existsSync(model) ? { SMORE_TEST_MODEL: model } : {};
  if (!existsSync(model)) {
    console.log(`tests with the default model are skipped: ${model} is not there (smore pull)`);
  }
  return run(process.execPath, ["--test", "--enable-source-maps", ...files], env);
}

await afterSetUp(() => {
  const asked = process.argv.slice(2);
  const unknown = asked.find((name) => !Object.hasOwn(parts, name));
  if (unknown !== undefined) {
    console.error(`no such part: ${unknown}; parts are ${Object.keys(parts).join(", ")}`);
    process.exit(2);
  }
  const results = Object.entries(parts)
    .filter(([name]) => asked.length === 0 || asked.includes(name))
    .map(([name, check]) => {
      console.log(`\n== ${name}`);
      const started = performance.now();
      const result = check();
      const seconds = ((performance.now() - started) / 1000).toFixed(0);
      const verdict = result === true ? "passed" : result === false ? "FAILED" : "skipped";
      const reason = typeof result === "string" ? `: ${result}` : "";
      return { failed: result === false, line: `${name}: ${verdict}${reason} (${seconds} s)` };
    });
  console.log(`\n${results.map(({ line }) => line).join("\n")}`);
  process.exitCode = results.some(({ failed }) => failed) ? 1 : 0;
});
