import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readApiKeys } from "../src/http/api-key-file.js";
import { serve, TINY } from "./support/command.js";

function blocks(document: string, language: string): string[] {
  const text = readFileSync(new URL(`../../docs/${document}.md`, import.meta.url), "utf8");
  const fence = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms");
  return [...text.matchAll(fence)].map((match) => match[1] as string);
}

test("what docs/adapters.md shows works, in its order", async (context) => {
  const root = mkdtempSync(join(tmpdir(), "smore-docs-"));
  context.after(() => rmSync(root, { recursive: true }));
  cpSync(join(TINY, "adapters/lora"), join(root, "legal"), { recursive: true });
  const { url } = await serve(context, ["--adapter-root", root]);
  const requests = blocks("adapters", "sh");
  assert.equal(requests.length, 3);
  for (const request of requests) {
    const [, path = "", body] = /8080(\S+)(?: .*-d '(.*)')?/s.exec(request) ?? [];
    const response = await fetch(url + path, {
      method: body === undefined ? "GET" : "POST",
      headers: { "content-type": "application/json" },
      body: body?.replace("/srv/adapters", root) ?? null,
    });
    assert.equal(response.status, 200, `${request}${await response.text()}`);
  }
});

test("the key files in docs/operations.md can be read", (context) => {
  const folder = mkdtempSync(join(tmpdir(), "smore-docs-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const names = [...blocks("operations", "text"), ...blocks("operations", "json")].map((text) => {
    writeFileSync(join(folder, "keys"), text);
    return readApiKeys(join(folder, "keys")).map(({ name }) => name);
  });
  assert.deepEqual(names, [
    ["ana", "ben", "ops"],
    ["ana", "ops"],
  ]);
});
