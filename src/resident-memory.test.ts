import assert from "node:assert/strict";
import { test } from "node:test";
import { residentMemory } from "./resident-memory.js";

test("a process without a free file descriptor is told what its memory was", (context) => {
  const before = residentMemory();
  assert.ok(before > 1e6);
  const fail = (code: string) => () => {
    throw Object.assign(new Error(`${code}: uv_resident_set_memory`), { code });
  };
  const { mock } = context.mock.method(process.memoryUsage, "rss", fail("EMFILE"));
  assert.equal(residentMemory(), before);
  mock.mockImplementation(fail("EIO"));
  assert.throws(residentMemory, /EIO/);
});
