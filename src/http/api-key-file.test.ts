import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readApiKeys } from "./api-key-file.js";

function read(text: string) {
  const folder = mkdtempSync(join(tmpdir(), "smore-keys-"));
  try {
    writeFileSync(join(folder, "keys"), text);
    return readApiKeys(join(folder, "keys"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const KEYS = [
  {
    name: "ana",
    key: "k-1",
    admin: false,
    limits: { requests_per_minute: 60, tokens_per_day: 1000 },
  },
  { name: "ben", key: "k-2", admin: false, limits: {} },
  { name: "eva", key: "k-3", admin: true, limits: {} },
  { name: "ole", key: "k-4", admin: true, limits: { tokens_per_minute: 5 } },
];

test("lines and JSON say the same", () => {
  const lines =
    "# team\n\nana:k-1:requests_per_minute=60,tokens_per_day=1000\n ben:k-2\neva:k-3:admin\nole:k-4:tokens_per_minute=5, admin\n";
  assert.deepEqual(read(lines), KEYS);
  const json = KEYS.map(({ limits, ...key }) => ({ ...key, ...limits }));
  assert.deepEqual(read(JSON.stringify({ keys: json })), KEYS);
  assert.deepEqual(read(JSON.stringify(json)), KEYS);
});

test("what is wrong is named by its place, and no key is shown", () => {
  for (const [text, wrong] of [
    ["", /holds no key/],
    ["ana", /line 1: "key" must be/],
    ["ana:k-1\nana:k-2", /line 2: this name is there twice/],
    ["ana:k-1\nben:k-1", /line 2: this key is there twice/],
    ["ana:k-1:1:2", /line 1 must be name:key/],
    ["ana:k-1:rpm=5", /line 1: "rpm" is none of admin, requests_per_minute, /],
    ["ana:k-1:admin=1", /line 1: "admin" must be true or false/],
    ["ana:k-1:tokens_per_day", /line 1: "tokens_per_day" must be a whole number/],
    ["ana:k-1:tokens_per_day=0", /line 1: "tokens_per_day" must be a whole number from 1/],
    ['{"keys": [k-1', /is not valid JSON/],
    ['{"keys": 5}', /"keys" must be an array/],
    ['[{"name": "ana"}]', /keys\[0\]: "key" must be/],
  ] as const) {
    assert.throws(
      () => read(text),
      ({ message }: Error) => wrong.test(message) && !/k-\d/.test(message.replace(/^\S+: /, "")),
      text,
    );
  }
});
