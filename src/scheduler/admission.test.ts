import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError } from "../errors.js";
import { Admission } from "./admission.js";

function admission(state: { requests: number; tokens: number; free: number }) {
  return new Admission({ requests: 2, tokens: 100 }, () => state);
}

const overloaded = (error: unknown) => error instanceof ApiError && error.code === "overloaded";

test("what was let in counts until it is given back, once", () => {
  const queue = admission({ requests: 0, tokens: 0, free: 1 });
  const rooms = [queue.reserve(1, 10), queue.reserve(2, 10)];
  assert.throws(() => queue.reserve(1, 1), overloaded);
  rooms[1]!.release();
  rooms[1]!.release();
  queue.reserve(2, 10);
  assert.throws(() => queue.reserve(1, 1), overloaded);
});

test("tokens are bounded once requests have to wait, and one long prompt always gets its chance", () => {
  admission({ requests: 1, tokens: 99, free: 0 }).reserve(1, 10_000);
  assert.throws(() => admission({ requests: 1, tokens: 100, free: 0 }).reserve(1, 1), overloaded);
  admission({ requests: 3, tokens: 1000, free: 3 }).reserve(1, 1);
});
