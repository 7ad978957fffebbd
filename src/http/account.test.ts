import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError } from "../errors.js";
import { Account } from "./account.js";

const DAY = 86_400;

/** Code and Retry-After of a refusal; null when the account may go on. */
function refusal(account: Account): [string, number | null] | null {
  try {
    account.admit();
    return null;
  } catch (error) {
    assert.ok(error instanceof ApiError);
    return [error.code, error.retryAfter];
  }
}

test("requests come back evenly over a minute", () => {
  let now = 0;
  const account = new Account("a", { requests_per_minute: 6 }, () => now);
  for (let request = 0; request < 6; request++) assert.equal(refusal(account), null);
  assert.deepEqual(refusal(account), ["rate_limit_exceeded", 10]);
  now += 10;
  assert.equal(refusal(account), null);
  assert.deepEqual(refusal(account), ["rate_limit_exceeded", 10]);
  now += 3600;
  for (let request = 0; request < 6; request++) assert.equal(refusal(account), null);
  assert.notEqual(refusal(account), null, "an hour's rest saves no more than a minute's worth");
});

test("tokens are paid afterwards: the next request waits until the debt is gone", () => {
  let now = 0;
  const account = new Account("a", { tokens_per_minute: 60 }, () => now);
  assert.equal(refusal(account), null);
  account.charge(100);
  assert.deepEqual(refusal(account), ["token_rate_limit_exceeded", 41]);
  now += 41;
  assert.equal(refusal(account), null);
});

test("a quota is whole again at midnight UTC", () => {
  let now = 10 * DAY + 80_000;
  const account = new Account("a", { tokens_per_day: 10 }, () => now);
  account.charge(10);
  assert.deepEqual(refusal(account), ["insufficient_quota", DAY - 80_000]);
  now = 11 * DAY;
  assert.equal(refusal(account), null);
});
