import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError } from "../errors.js";
import { PLAIN_FORMAT } from "../text/tool-format.js";
import { finished } from "../turns.js";
import { Fields } from "./schema.js";
import { parseTools, toolGrammar } from "./tools.js";

/** Together they take more rules than a grammar has. */
function manyTools(strict: boolean): object[] {
  const fields = Array.from({ length: 60 }, (_, i) => [`field_${i}`, { type: "string" }]);
  const parameters = { type: "object", properties: Object.fromEntries(fields) };
  return Array.from({ length: 128 }, (_, i) => ({
    type: "function",
    function: { name: `tool_${i}`, parameters, strict },
  }));
}

function grammarOf(tools: readonly object[]): string {
  const use = parseTools(new Fields({ tools, tool_choice: "required" }));
  return finished(toolGrammar(use!, PLAIN_FORMAT));
}

test("where schemas take too many rules, the arguments of further tools are any object", () => {
  const [root = "", ...rules] = grammarOf(manyTools(false)).split("\n");
  assert.match(root, /^root ::= /);
  const call = rules.at(-1)!;
  assert.match(call, /tool_0/);
  assert.match(call, /tool_127\\u0022" "," " "\? "\\u0022arguments\\u0022" ":" " "\? object "}"/);
});

test("where the arguments must be held and cannot all be, the tool is refused by its place", () => {
  assert.throws(
    () => grammarOf(manyTools(true)),
    (error: unknown) => {
      assert.ok(error instanceof ApiError);
      assert.equal(error.code, "not_supported");
      assert.match(error.message, /^tools\[\d+\]\.function\.parameters .*too many rules/);
      return true;
    },
  );
});
