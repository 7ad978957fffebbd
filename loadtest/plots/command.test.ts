import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { captionOf, withoutFolders } from "./command.js";

test("the command under a plot names no folder of the machine that drew it", () => {
  assert.equal(withoutFolders("/home/me/models/model.gguf"), "model.gguf");
  assert.equal(withoutFolders("--model=/home/me/model.gguf"), "--model=model.gguf");
  assert.equal(withoutFolders("--out"), "--out");
  assert.equal(withoutFolders("/home/me/plots/"), "plots");
  assert.equal(withoutFolders("docs/plots"), "docs/plots");
});

test("the plots in docs tell the command, the model, threads, processors and commit of their figures", () => {
  const read = (name: string) =>
    readFileSync(new URL(`../../../docs/${name}`, import.meta.url), "utf8");
  const figures = JSON.parse(read("load.json"));
  const caption = captionOf(figures.command, figures, figures);
  assert.match(caption, / · smollm2-q4_0, smore · 2 threads, server and client on 2 CPUs \(/);
  for (const plot of ["load-streams.svg", "load-adapters.svg"]) {
    assert.ok(read(plot).includes(`>${caption}<`), plot);
  }
});
