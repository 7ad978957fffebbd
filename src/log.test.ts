import assert from "node:assert/strict";
import { test } from "node:test";
import { pino } from "pino";
import { sentence } from "./log.js";

test("a terminal gets sentences", () => {
  const lines: string[] = [];
  const log = pino({ base: null }, { write: (line) => void lines.push(sentence(line)) });
  log.info({ adapter: "legal", pages: 12 }, "adapter loaded");
  log.warn("it is late");
  log.error({ err: new Error("broken") }, "a step failed");
  assert.deepEqual(lines.slice(0, 2), [
    "smore: adapter loaded (adapter legal, pages 12)\n",
    "smore: warn: it is late\n",
  ]);
  assert.match(lines[2]!, /^smore: error: a step failed\nError: broken\n {4}at /);
});
