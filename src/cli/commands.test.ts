import assert from "node:assert/strict";
import { test } from "node:test";
import { COMMANDS } from "./commands.js";
import { flagName } from "./options.js";

test("the help of every command has its usage, all of its options and an example", async () => {
  for (const [name, { load }] of Object.entries(COMMANDS)) {
    const { command } = await load();
    assert.match(command.usage, new RegExp(`^Usage: smore ${name}\\b`));
    for (const key of Object.keys(command.options)) {
      assert.ok(command.usage.includes(`  ${flagName(key)}`), `${name}: ${flagName(key)}`);
    }
    assert.match(command.usage, new RegExp(`^Examples?:\\s[\\s\\S]*smore ${name}`, "m"), name);
  }
});
