import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError } from "../errors.js";
import { ApiKeys } from "./auth.js";

const named = (key: string) => ({ name: key, key, admin: false, limits: {} });

function refusal(keys: ApiKeys, authorization: string, admin = false): string | null {
  try {
    keys.check(authorization, admin);
    return null;
  } catch (error) {
    assert.ok(error instanceof ApiError);
    return error.code;
  }
}

test("any of the keys opens, whatever the case of the scheme", () => {
  const keys = new ApiKeys(["one", "two words"].map(named));
  assert.equal(refusal(keys, "Bearer one"), null);
  assert.equal(refusal(keys, "bearer  two words"), null);
});

test("a missing key and a wrong one are told apart", () => {
  const keys = new ApiKeys([named("one")]);
  for (const header of ["", "Bearer", "Bearer ", "Basic b25l", "one"]) {
    assert.equal(refusal(keys, header), "missing_api_key", header);
  }
  for (const header of ["Bearer on", "Bearer one ", "Bearer onee", "Bearer ONE"]) {
    assert.equal(refusal(keys, header), "invalid_api_key", header);
  }
});

test("what manages the server takes a key with the scope admin", () => {
  const keys = new ApiKeys([named("one"), { ...named("two"), admin: true }]);
  assert.equal(refusal(keys, "Bearer one", true), "admin_required");
  assert.equal(refusal(keys, "Bearer two", true), null);
  assert.equal(refusal(keys, "Bearer three", true), "invalid_api_key");
});

test("without keys everyone may come", () => {
  assert.equal(refusal(new ApiKeys([]), ""), null);
});
