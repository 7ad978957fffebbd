import assert from "node:assert/strict";
import { test } from "node:test";
import { nearest } from "./nearest.js";

test("what is misspelt or cut short is recognised, and what could be anything is not", () => {
  const names = ["smollm2-135m-instruct", "function-calls", "sql"];
  assert.equal(nearest("function-cals", names), "function-calls");
  assert.equal(nearest("smollm2", names), "smollm2-135m-instruct");
  assert.equal(nearest("sqll", names), "sql");
  assert.equal(nearest("poetry", names), null);
  assert.equal(nearest("fu", names), null);
  assert.equal(nearest("adapter-", ["adapter-one", "adapter-two"]), null);
});
