import assert from "node:assert/strict";
import { test } from "node:test";
import { suggestions } from "./suggestions.js";

test("the first three examples that are one short message of a user are suggested", () => {
  const user = (content: string) => ({ messages: [{ role: "user", content }] });
  const told = { messages: [{ role: "system", content: "Be kind." }, ...user("Go").messages] };
  const examples = [user(" one "), told, user("x".repeat(161)), user(" "), { messages: [] }];
  assert.deepEqual(suggestions(examples), ["one"]);
  const many = ["a", "b", "c", "d"].map(user);
  assert.deepEqual(suggestions([...examples, ...many]), ["one", "a", "b"]);
});
