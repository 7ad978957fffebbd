import assert from "node:assert/strict";
import { basename } from "node:path";
import { test } from "node:test";
import { readConfig } from "../config.js";
import { adapterFolders, adapterRoots } from "./adapter-sources.js";

const given = (...args: string[]) => readConfig(args, {})!;

test("a folder of one's own comes before the adapters of the default model and takes nothing away", () => {
  const [bundled = ""] = adapterFolders(given());
  assert.equal(basename(bundled), "adapters");
  assert.deepEqual(adapterFolders(given("--adapters-dir", "/mine")), ["/mine", bundled]);
  assert.deepEqual(adapterFolders(given("--adapters-dir", bundled)), [bundled]);
  assert.deepEqual(adapterFolders(given("--adapter", "a=/mine/a")), [bundled]);
});

test("without its own adapters, and for another model, only what is named is served", () => {
  assert.deepEqual(adapterFolders(given("--no-bundled-adapters")), []);
  const mine = ["--adapters-dir", "/mine"];
  assert.deepEqual(adapterFolders(given("--no-bundled-adapters", ...mine)), ["/mine"]);
  assert.deepEqual(adapterFolders(given("--model", "m.gguf")), []);
  assert.deepEqual(adapterFolders(given("--model", "m.gguf", ...mine)), ["/mine"]);
});

test("clients may load from where the adapters at start lie, or from the roots alone", () => {
  const bundled = adapterFolders(given());
  const named = ["--adapter", "a=/mine/a"];
  assert.deepEqual(adapterRoots(given(...named)), ["/mine", ...bundled]);
  assert.deepEqual(adapterRoots(given(...named, "--adapter-root", "/more")), ["/more"]);
});
