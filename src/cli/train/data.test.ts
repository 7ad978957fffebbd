import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { LONGEST_LINE, readExamples } from "./data.js";

const folder = mkdtempSync(join(tmpdir(), "smore-train-"));
after(() => rmSync(folder, { recursive: true }));

const file = (text: string | Buffer) => {
  const path = join(folder, "data.jsonl");
  writeFileSync(path, text);
  return path;
};
const good = Array.from({ length: 20 }, (_, i) => ({ prompt: `p${i}`, completion: `c${i}` }));
const lines = (examples: readonly object[]) => examples.map((e) => JSON.stringify(e)).join("\n");

describe("a file of examples", () => {
  it("is read whole, with or without a last line end, also from Windows", () => {
    assert.deepEqual(readExamples(file(lines(good))), good);
    assert.deepEqual(readExamples(file(`${lines(good)}\n`)), good);
    assert.deepEqual(readExamples(file(`${lines(good).replaceAll("\n", "\r\n")}\r\n`)), good);
  });

  const bad: readonly (readonly [string, RegExp])[] = [
    ["", /line 3: is empty/],
    ["{", /line 3: is not JSON/],
    ["[]", /line 3: must be an object/],
    ["null", /line 3: must be an object/],
    ['{"prompt": "a"}', /line 3: has no "completion"/],
    ['{"prompt": 1, "completion": "b"}', /line 3: "prompt" must be a text, not number/],
    ['{"prompt": "a", "completion": " "}', /line 3: "completion" is blank/],
    ['{"prompt": "a", "completion": "b", "label": 1}', /line 3: has a field "label"/],
  ];
  for (const [line, message] of bad) {
    it(`names the line that is ${line || "empty"}`, () => {
      const all = lines(good).split("\n");
      all.splice(2, 0, line);
      assert.throws(() => readExamples(file(all.join("\n"))), { name: "CommandError", message });
    });
  }

  it("names the line that is far too long, also where there are few", () => {
    const long = JSON.stringify({ prompt: "a".repeat(LONGEST_LINE), completion: "b" });
    const message = new RegExp(`line 1: is ${long.length} characters long; at most 1048576`);
    assert.throws(() => readExamples(file(long)), { name: "CommandError", message });
  });

  it("is no pipe and no device, which have no end", () => {
    const pipe = join(folder, "pipe.jsonl");
    execFileSync("mkfifo", [pipe]);
    for (const path of [pipe, "/dev/zero", folder]) {
      assert.throws(() => readExamples(path), {
        name: "ModelError",
        message: `${path}: is not a regular file`,
      });
    }
  });

  it("is refused when it is too short or not UTF-8", () => {
    assert.throws(() => readExamples(file(lines(good.slice(1)))), /has 19 examples; at least 20/);
    assert.throws(() => readExamples(file("")), /has 0 examples/);
    assert.throws(() => readExamples(file(Buffer.from([0xff, 0xfe]))), /is not UTF-8/);
  });
});
