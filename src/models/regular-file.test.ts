import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { loadText } from "../text/load-text.js";
import { readTextFile } from "./regular-file.js";

function folder(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "smore-file-"));
  context.after(() => rmSync(path, { recursive: true }));
  return path;
}

test("a pipe in place of a model or of its tokenizer is refused, not waited for", (context) => {
  const path = folder(context);
  for (const name of ["model.gguf", "tokenizer.json"]) execFileSync("mkfifo", [join(path, name)]);
  assert.throws(() => readTextFile(join(path, "tokenizer.json")), {
    name: "ModelError",
    message: /tokenizer\.json: is not a regular file/,
  });
  assert.match(loadText(join(path, "model.gguf")).reason ?? "", /is not a regular file/);
  assert.match(loadText(path).reason ?? "", /is not a regular file/);
});

test("a text is read whole, and a file that is missing is named with the system's reason", (context) => {
  const file = join(folder(context), "a.txt");
  writeFileSync(file, "näh\n");
  assert.equal(readTextFile(file), "näh\n");
  assert.throws(() => readTextFile(`${file}.gone`), {
    name: "ModelError",
    message: `${file}.gone: no such file or directory`,
  });
});
