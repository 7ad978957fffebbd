import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, it, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";

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

  function failure(): string {
    const env = { PATH: bin };
    const { status, stderr } = spawnSync(process.execPath, ["scripts/build.mjs"], {
      cwd: clone,
      env,
      encoding: "utf8",
    });
    assert.equal(status, 1);
    return stderr;
  }

  it("names npm when it is missing, in one line", () => {
    assert.match(failure(), /^smore: npm is missing: .*apt-get install npm.*\n$/);
  });

  it("says when npm cannot install", () => {
    writeFileSync(join(bin, "npm"), '#!/bin/sh\n[ "$1" = --version ]\n', { mode: 0o755 });
    assert.match(failure(), /smore: npm ci failed/);
  });

  it("names the compiler, CMake and make in turn", () => {
    dependenciesAreInstalled();
    assert.match(failure(), /^smore: a C\+\+20 compiler is missing .*apt-get install g\+\+.*\n$/);
    provide("c++");
    assert.match(failure(), /^smore: CMake 3\.20 or later is missing.*apt-get install cmake.*\n$/);
    provide("cmake", "cmake version 3.19.8");
    assert.match(failure(), /^smore: CMake 3\.20 or later is missing/);
    provide("cmake", "cmake version 3.25.1");
    assert.match(failure(), /^smore: make is missing: apt-get install make.*\n$/);
  });
});
