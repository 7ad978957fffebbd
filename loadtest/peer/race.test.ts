import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { UsageError } from "../../src/cli/options.js";
import { output, withServer } from "../processes.js";
import type { Contestant } from "./contestant.js";
import { findPrograms, llamaCpp, quantized } from "./llama-cpp.js";
import { race } from "./race.js";

const FAKE_SERVER = fileURLToPath(new URL("../../test/support/fake-server.js", import.meta.url));

function folder(test: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "smore-peer-"));
  test.after(() => rmSync(path, { recursive: true }));
  return path;
}

/** A script in place of llama.cpp's programs. */
function script(path: string, lines: readonly string[]): string {
  writeFileSync(path, ["#!/bin/sh", ...lines, ""].join("\n"));
  chmodSync(path, 0o755);
  return path;
}

test("a race goes in turn, changes who begins, and counts the best of each case", async () => {
  const calls: string[] = [];
  const contestant = (name: string, speeds: number[]): Contestant => ({
    name,
    engine: async () => {
      calls.push(name);
      const speed = speeds.shift()!;
      return { prompt: speed, oneStream: -speed, manyStreams: 1, build: `${name} 1` };
    },
    server: () => ({ program: [process.execPath, FAKE_SERVER], args: [], timeout: null }),
  });
  const contestants = [contestant("a", [10, 30]), contestant("b", [5, 2])] as const;
  const lines: string[] = [];
  const [a, b] = await race(contestants, "model", 2, (line) => lines.push(line));
  assert.deepEqual(calls, ["a", "b", "b", "a"]);
  assert.deepEqual([a!.best.prompt, a!.best.oneStream, a!.build], [30, -10, "a 1"]);
  assert.deepEqual([b!.best.prompt, b!.best.oneStream, b!.rounds.length], [5, -2, 2]);
  assert.ok(a!.best.httpManyStreams > 0 && b!.best.httpOneStream > 0);
  assert.equal(lines.length, 4);
});

test("llama.cpp's programs are found in a folder, below bin, or behind a script", (t) => {
  const root = folder(t);
  assert.throws(() => findPrograms(join(root, "none")), /no such file or folder/);
  assert.throws(() => findPrograms(root), /no llama-bench in it/);
  mkdirSync(join(root, "bin"));
  const bench = script(join(root, "bin", "llama-bench"), []);
  assert.deepEqual(findPrograms(root)("llama-bench"), [bench]);
  const run = script(join(root, "run"), []);
  assert.deepEqual(findPrograms(root)("llama-server"), [run, "llama-server"]);
  assert.deepEqual(findPrograms(run)("llama-server"), [run, "llama-server"]);
});

test("the figures of llama.cpp's programs are read, and formats are made once", async (t) => {
  const root = folder(t);
  const run = script(join(root, "run"), [
    'case "$1" in',
    `llama-bench) echo '[{"n_prompt":512,"n_gen":0,"avg_ts":5,"build_commit":"abc"},{"n_prompt":0,"n_gen":64,"avg_ts":7,"build_commit":"abc"}]';;`,
    `llama-batched-bench) echo 'noise'; echo '{"speed_tg": 9}';;`,
    'llama-quantize) echo "$5" >> "$4"; echo made;;',
    "esac",
  ]);
  const programs = findPrograms(run);
  const figures = await llamaCpp(programs, 2, 60).engine("m.gguf");
  assert.deepEqual(figures, { prompt: 5, oneStream: 7, manyStreams: 9, build: "abc" });
  const made = await quantized(programs, "m.gguf", "Q8_0", root, 60);
  assert.equal(made, join(root, "m-as-Q8_0.gguf"));
  assert.equal(await quantized(findPrograms(root), "m.gguf", "Q8_0", root, 60), made);
});

test("a program that fails says what it said", async (t) => {
  const run = script(join(folder(t), "run"), ['echo "no such model" >&2', "exit 3"]);
  await assert.rejects(output([run], ["x"]), /run x: exited with 3\nno such model/);
});

test("a peer that prints something else, or never ends, is told in one line that names the command", async (t) => {
  const root = folder(t);
  const said = async (lines: readonly string[], timeout = 60) => {
    const programs = findPrograms(script(join(root, "run"), lines));
    const error = await llamaCpp(programs, 2, timeout)
      .engine("m.gguf")
      .catch((fault: unknown) => fault);
    assert.ok(error instanceof UsageError, String(error));
    return error.message;
  };
  const bench = `${join(root, "run")} llama-bench -m m.gguf -t 2 -p 512 -n 64 -r 1 -o json`;
  const expected = `${bench}: printed no JSON rows with n_prompt, n_gen, avg_ts and build_commit, as llama.cpp's does`;
  for (const printed of [
    "hello",
    "",
    "{}",
    "null",
    "[]",
    "[null]",
    '[{"n_gen": 0, "avg_ts": 5}]',
  ]) {
    assert.equal(await said([`echo '${printed}'`]), expected, printed);
  }
  const row = '"avg_ts":5,"build_commit":"abc"';
  const rows = `[{"n_prompt":512,"n_gen":0,${row}},{"n_prompt":0,"n_gen":64,${row}}]`;
  for (const printed of ["hello", "{", '{"speed": 1}', '{"speed_tg": "fast"}']) {
    const lines = [`[ $1 = llama-bench ] && echo '${rows}' && exit`, `echo '${printed}'`];
    assert.match(
      await said(lines),
      /^\S+ llama-batched-bench .*: printed no JSON line with speed_tg, as llama\.cpp's does$/,
      printed,
    );
  }
  assert.equal(await said(["exec sleep 600"], 1), `${bench}: had not ended after 1 s (--timeout)`);
});

test("a server that ends is told at once, and one that never answers when its time is up", async (t) => {
  const root = folder(t);
  const serve = (lines: readonly string[], use: () => Promise<never>, timeout: number | null) =>
    withServer([script(join(root, "run"), lines)], [], use, timeout);
  const unused = () => assert.fail("it is not healthy");
  await assert.rejects(serve(["kill -SEGV $$"], unused, null), /^CommandError: .*did not start/);
  await assert.rejects(serve(["exec sleep 600"], unused, 1), (error) => {
    assert.ok(error instanceof UsageError);
    assert.match(
      error.message,
      /^\S+ --host 127\.0\.0\.1 --port \d+: had not ended after 1 s \(--timeout\)$/,
    );
    return true;
  });
  const program = [process.execPath, FAKE_SERVER] as const;
  const silent = () =>
    new Promise<never>((_, reject) => setTimeout(reject, 2000, new Error("reset")));
  await assert.rejects(withServer(program, [], silent, 1), UsageError);
});
