import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeGenerator, fakeContext } from "../engine/fake.js";
import { findModel } from "./models.js";

function refusal(adapters: readonly string[], asked: string): string {
  const context = fakeContext(new FakeGenerator(), {}, adapters);
  let message = "";
  assert.throws(
    () => findModel(asked, context),
    (error: Error) => {
      ({ message } = error);
      return true;
    },
  );
  return message;
}

test("a name that is nearly right is answered with the right one", () => {
  assert.equal(
    refusal(["function-calls", "sql"], "function-call"),
    "The model `function-call` does not exist. Did you mean `function-calls`? GET /v1/models lists those that do.",
  );
});

test("no name is guessed that is far off, nor where comparing would take long", () => {
  const adapters = Array.from({ length: 200 }, (_, i) => `adapter-${i}`);
  const long = "adapter".repeat(6);
  for (const message of [
    refusal(["sql"], "poetry"),
    refusal(adapters, "adapter-x"),
    refusal([long], `${long}s`),
  ]) {
    assert.match(message, /does not exist\. GET \/v1\/models lists those that do\.$/);
  }
});
