import assert from "node:assert/strict";
import { test } from "node:test";
import { readSubProtocols } from "./sub-protocol.js";

test("a key is found among the sub-protocols, and another one is chosen where there is one", () => {
  const cases: [header: string, key: string | null, chosen: string][] = [
    ["", null, ""],
    ["smore", null, "smore"],
    ["realtime, openai-insecure-api-key.k.1", "k.1", "realtime"],
    ["openai-insecure-api-key.k,realtime", "k", "realtime"],
    ["openai-insecure-api-key.k", "k", "openai-insecure-api-key.k"],
  ];
  for (const [header, key, chosen] of cases) {
    assert.deepEqual(readSubProtocols(header), { key, chosen }, header);
  }
});
