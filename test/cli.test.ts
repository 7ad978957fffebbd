import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { exitOf, MAIN, TINY } from "./support/command.js";

const OWN_ADAPTER = fileURLToPath(new URL("../../models/adapters/function-calls", import.meta.url));

/** The commands that end by themselves, as users run them. */

test("a slow reader of a pipe gets all of it", async () => {
  const args = [MAIN, "inspect", OWN_ADAPTER, "--json"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const closed = once(child, "close");
  const pipe = child.stdout.setEncoding("utf8");
  let text = "";
  for await (const chunk of pipe) {
    text += chunk;
    await setTimeout(20);
  }
  assert.deepEqual(await closed, [0, null]);
  assert.ok(text.length > 1 << 16, "more than a pipe holds");
  assert.equal(JSON.parse(text).kind, "adapter");
});

test("a reader that leaves early is no fault", async () => {
  const args = [MAIN, "inspect", join(TINY, "model"), "--json"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  const closed = once(child, "close");
  child.stdout.destroy();
  let complaints = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaints += text;
  });
  assert.deepEqual(await closed, [0, null]);
  assert.equal(complaints, "");
});

test("output that a full disk does not take is a fault", async () => {
  const full = openSync("/dev/full", "w");
  const args = [MAIN, "inspect", join(TINY, "model"), "--json"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", full, "pipe"] });
  closeSync(full);
  let complaints = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    complaints += text;
  });
  assert.deepEqual(await once(child, "close"), [1, null]);
  assert.match(complaints, /^smore: ENOSPC: no space left on device, write\n$/);
});

test("--version says the version of the package", async () => {
  const { code, output } = await exitOf(["--version"]);
  assert.equal(code, 0);
  assert.match(output, /^\d+\.\d+\.\d+\n$/);
});

test("verify of an adapter or a model says what it takes, and what shows the folder", async () => {
  const weights = join(TINY, "adapters/lora/adapter_model.safetensors");
  for (const [path, what] of [
    [join(TINY, "adapters/lora"), "an adapter"],
    [weights, "an adapter"],
    [join(TINY, "model"), "a model"],
  ] as const) {
    const { code, output } = await exitOf(["verify", path]);
    assert.equal(code, 1);
    assert.match(
      output,
      new RegExp(`^smore: ".*" is ${what}, .*golden files.*; smore inspect /.*\n$`),
    );
  }
});

test("inspect of a folder of adapters names one of them", async () => {
  const { code, output } = await exitOf(["inspect", join(TINY, "adapters")]);
  assert.equal(code, 1);
  assert.match(output, /^smore: .*: a folder of adapters; inspect one of them, such as .*\n$/);
});

test("inspect of a folder of older PEFT tells how its weights are converted", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "smore-inspect-"));
  context.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "adapter_config.json"), "{}");
  writeFileSync(join(folder, "adapter_model.bin"), "");
  const { code, output } = await exitOf(["inspect", folder]);
  assert.equal(code, 1);
  assert.match(
    output,
    /^smore: .*adapter_model\.bin is the format of older PEFT.* save_file\(.*\n$/,
  );
});

test("copies of no adapter are refused", async () => {
  const { code, output } = await exitOf(["bench", "--copies", "4"]);
  assert.equal(code, 2);
  assert.match(output, /^smore: --copies needs an adapter to register: --adapter PATH\n$/);
});
