import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { TINY } from "./support/command.js";

const MAIN = fileURLToPath(new URL("../loadtest/main.js", import.meta.url));

/** `npm run soak` for as long as a test may take. */
function soak(args: readonly string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, "soak", ...args], (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), output: stdout + stderr });
    });
  });
}

test("after half a minute of every kind of client, memory and answers are those of the start", async (t) => {
  const model = ["--model", join(TINY, "model"), "--adapters", join(TINY, "adapters")];
  const { code, output } = await soak([...model, "--seconds", "30", "--warmup", "60"]);
  t.diagnostic(output.trim().split("\n").slice(-2).join("; "));
  assert.equal(code, 0, output);
  for (const what of ["streamed", "answered", "left", "talked over a socket", "loads", "unloads"]) {
    assert.match(output, new RegExp(`^30 s: .*\\b[1-9]\\d* ${what}\\b`, "m"));
  }
});
