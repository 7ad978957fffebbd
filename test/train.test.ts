import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { preparedPython } from "../src/cli/train/environment.js";
import { complete, exitOf, MAIN, serve, TINY } from "./support/command.js";

/** `smore train` as users run it. */

const MODEL = process.env.SMORE_TEST_MODEL ?? "";
const skip =
  MODEL === ""
    ? "SMORE_TEST_MODEL is not set"
    : preparedPython() === null
      ? "the Python environment is not there (npm run smore -- train --setup)"
      : false;

const folder = mkdtempSync(join(tmpdir(), "smore-train-"));
after(() => rmSync(folder, { recursive: true }));

function dataFile(name: string, lines: readonly string[]): string {
  const path = join(folder, name);
  writeFileSync(path, `${lines.join("\n")}\n`);
  return path;
}

const greetings = Array.from({ length: 24 }, (_, i) =>
  JSON.stringify({ prompt: `Greet guest ${i}`, completion: `Ahoy, guest ${i}!` }),
);

test("a bad line is named before anything is installed or trained", async () => {
  const data = dataFile("bad.jsonl", [...greetings, '{"prompt": "Greet nobody"}']);
  const { code, output } = await exitOf(["train", data]);
  assert.equal(code, 1);
  assert.match(output, /^smore: .*bad\.jsonl, line 25: has no "completion"\n$/);
});

test("a run does not go on with other settings than it was begun with", async () => {
  const out = join(folder, "other");
  mkdirSync(out);
  writeFileSync(join(out, "run.json"), JSON.stringify({ steps: 7 }));
  writeFileSync(join(out, "checkpoint.pt"), "");
  const data = dataFile("other.jsonl", greetings);
  const { code, output } = await exitOf([
    "train",
    data,
    "--model",
    join(TINY, "model"),
    "--out",
    out,
  ]);
  assert.equal(code, 1);
  assert.match(output, /holds a run with other data: give it what it was begun with/);
});

function train(args: readonly string[]): { process: ChildProcess; text: () => string } {
  // A group of its own, as a shell gives it: an interrupt reaches the training too.
  const child = spawn(process.execPath, [MAIN, "train", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  });
  let text = "";
  child.stdout!.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  return { process: child, text: () => text };
}

test("from examples to a served adapter, over an interruption", { skip }, async (context) => {
  const out = join(folder, "greet");
  const data = dataFile("greet.jsonl", greetings);
  const args = [data, "--model", MODEL, "--out", out, "--steps", "3"];

  const first = train(args);
  while (!first.text().includes("step 1/")) await once(first.process.stdout!, "data");
  process.kill(-first.process.pid!, "SIGINT");
  const [code] = await once(first.process, "exit");
  assert.equal(code, 130);
  const done = Number(/stopped after step (\d)/.exec(first.text())?.[1]);
  assert.ok(done >= 1 && done < 3, first.text());

  const second = train(args);
  assert.deepEqual(await once(second.process, "close"), [0, null]);
  assert.match(second.text(), new RegExp(`resumed after step ${done}\\nstep ${done + 1}/3 `));
  assert.match(second.text(), /right on \d+ examples kept for the score: .* before, .* after/);
  const log = JSON.parse(readFileSync(join(out, "log.json"), "utf8")) as { loss: number }[];
  assert.equal(log.length, 3);
  assert.ok(log[2]!.loss < log[0]!.loss);
  assert.match(readFileSync(join(out, "loss.svg"), "utf8"), /^<svg .*<\/svg>\n$/s);
  assert.ok(existsSync(join(out, "scores.json")));

  const adapter = ["--adapter", `greet=${join(out, "adapter")}`];
  const { url } = await serve(context, ["--model", MODEL, ...adapter]);
  const response = await complete(url, { model: "greet", prompt: "Greet guest 1", max_tokens: 4 });
  assert.equal(response.status, 200);
});
