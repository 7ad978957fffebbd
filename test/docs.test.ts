import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { flagName } from "../src/cli/options.js";
import { SERVE_OPTIONS } from "../src/config.js";
import { readApiKeys } from "../src/http/api-key-file.js";
import { MODEL_METRICS, SERVER_METRICS } from "../src/metrics/table.js";
import { until } from "./harness.js";
import { serve, TINY } from "./support/command.js";

function blocks(document: string, language: string): string[] {
  const text = readFileSync(new URL(`../../docs/${document}.md`, import.meta.url), "utf8");
  const fence = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms");
  return [...text.matchAll(fence)].map((match) => match[1] as string);
}

function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "smore-docs-"));
  context.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

test("what docs/adapters.md shows works, in its order", async (context) => {
  const root = temporaryFolder(context);
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
  const folder = temporaryFolder(context);
  const names = [...blocks("operations", "text"), ...blocks("operations", "json")].map((text) => {
    writeFileSync(join(folder, "keys"), text);
    return readApiKeys(join(folder, "keys")).map(({ name }) => name);
  });
  assert.deepEqual(names, [
    ["ana", "ben", "ops"],
    ["ana", "ops"],
  ]);
});

test("every option and metric that docs/operations.md names exists", () => {
  const text = readFileSync(new URL("../../docs/operations.md", import.meta.url), "utf8");
  const own = text.replace(/^openssl .*\n.*$/m, "").replace("--cacert", "");
  const flags = new Set(own.match(/--[a-z][a-z-]+/g));
  const known = new Set(Object.keys(SERVE_OPTIONS).map(flagName));
  assert.ok(flags.size >= 10);
  assert.deepEqual(
    [...flags].filter((flag) => !known.has(flag)),
    [],
  );
  const metrics = new Set(text.match(/\b(?:smore|vllm)[_:][a-z_]+\b/g));
  const rows = Object.values({ ...MODEL_METRICS, ...SERVER_METRICS }).map(({ name }) => name);
  assert.ok(metrics.size >= 3);
  assert.deepEqual(
    [...metrics].filter((name) => !rows.includes(name)),
    [],
  );
});

test("the line of the log in docs/operations.md has the fields that lines have", async (context) => {
  const folder = temporaryFolder(context);
  writeFileSync(join(folder, "keys"), "ana:k");
  const { url, output } = await serve(context, [
    ...["--api-key-file", join(folder, "keys"), "--log-level", "debug"],
  ]);
  await fetch(`${url}/v1/models`, {
    headers: { authorization: "Bearer k", "x-request-id": "request-17" },
  });
  await until(() => output().includes("request-17"), "it is logged");
  const logged = output()
    .split("\n")
    .find((line) => line.includes("request-17"));
  const [documented = ""] = blocks("operations", "jsonl");
  assert.deepEqual(Object.keys(JSON.parse(logged ?? "")), Object.keys(JSON.parse(documented)));
});

test("the certificate that docs/operations.md makes is served", async (context) => {
  if (spawnSync("openssl", ["version"]).status !== 0) {
    context.skip("openssl is not installed");
    return;
  }
  const folder = temporaryFolder(context);
  const shell = blocks("operations", "sh").find((block) => block.startsWith("openssl")) ?? "";
  const [make = "", use = ""] = shell.split(/^smore serve (.*) &$/m);
  execFileSync("sh", ["-c", make], { cwd: folder, stdio: "ignore" });
  const options = use.split(" ").map((word) => word.replace(/^tls\./, `${folder}/tls.`));
  const { url } = await serve(context, options);
  const asked = request(`${url}/livez`, { ca: readFileSync(join(folder, "tls.crt")) }).end();
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  assert.equal(response.resume().statusCode, 200);
});
