import assert from "node:assert/strict";
import { test } from "node:test";
import { withoutFolders } from "./command.js";

test("the command under a plot names no folder of the machine that drew it", () => {
  assert.equal(withoutFolders("/home/me/models/model.gguf"), "model.gguf");
  assert.equal(withoutFolders("--model=/home/me/model.gguf"), "--model=model.gguf");
  assert.equal(withoutFolders("--out"), "--out");
  assert.equal(withoutFolders("/home/me/plots/"), "plots");
  assert.equal(withoutFolders("docs/plots"), "docs/plots");
});
