import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { flagName } from "../src/cli/options.js";
import { SERVE_OPTIONS } from "../src/config.js";
import { readApiKeys } from "../src/http/api-key-file.js";
import { MODEL_METRICS, SERVER_METRICS } from "../src/metrics/table.js";
import { CONVERT } from "../src/models/adapter-files.js";
import { readCard } from "../src/models/card.js";
import { until } from "./harness.js";
import { exitOf, serve, TINY } from "./support/command.js";

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

/** What a curl of the documents asks of the server at `url`. */
async function curl(url: string, command: string, path: (shown: string) => string) {
  const [, route = "", body] = /8080(\S+)(?: .*-d '(.*)')?/s.exec(command) ?? [];
  const response = await fetch(url + route, {
    method: body === undefined ? "GET" : "POST",
    headers: { "content-type": "application/json" },
    body: body?.replace(/models\/adapters\/\w+/, path) ?? null,
  });
  const text = await response.text();
  assert.equal(response.status, 200, `${command}${text}`);
  return JSON.parse(text);
}

interface ShownAnswer {
  readonly choices: readonly {
    readonly message: { readonly content: string };
    readonly routing?: object;
  }[];
}

const managing = (request: string) => /lora_adapter|\/v1\/adapters/.test(request);

test("docs/adapters.md loads, unloads and lists adapters in an order that works", async (context) => {
  const served = ["--adapter", `function-calls=${join(TINY, "adapters/lora")}`];
  const { url } = await serve(context, ["--adapter-root", TINY, ...served]);
  const requests = blocks("adapters", "sh").filter(managing);
  assert.equal(requests.length, 4);
  for (const request of requests) await curl(url, request, () => join(TINY, "adapters/lora"));
});

const MODEL = process.env.SMORE_TEST_MODEL ?? "";
const skip = MODEL === "" ? "SMORE_TEST_MODEL is not set" : false;

test("docs/adapters.md asks for names and layers that exist, and shows the answers", {
  skip,
}, async (context) => {
  const bundled = fileURLToPath(new URL("../../models/adapters", import.meta.url));
  const names = ["--served-model-name", "smollm2-135m-instruct", "--adapters-dir", bundled];
  const { url } = await serve(context, ["--model", MODEL, ...names]);
  const requests = blocks("adapters", "sh").filter((request) => !managing(request));
  assert.equal(requests.length, 3);
  const answers: ShownAnswer[] = [];
  for (const request of requests) answers.push(await curl(url, request, (path) => path));
  const [mixed, routed, told] = answers.map(({ choices }) => choices[0]!);
  assert.ok(mixed && routed && told);
  assert.match(mixed.message.content, /^\{"name": "/);
  assert.match(routed.message.content, /"set_timer".*25/);
  // Scores are of one kernel path, and experts may be where two are nearly equal.
  const shape = (routing: unknown) =>
    JSON.parse(JSON.stringify(routing), (key, value) =>
      key === "scores" || key === "experts" ? (Array.isArray(value) ? value.length : value) : value,
    );
  const shown = blocks("adapters", "json").map((text) => JSON.parse(text));
  const [documented] = shown.filter((value) => "tokens" in value);
  assert.deepEqual(shape(told.routing), shape(documented));
});

test("docs/adapters.md converts the weights of older PEFT as the log says", () => {
  const text = readFileSync(new URL("../../docs/adapters.md", import.meta.url), "utf8");
  assert.ok(text.includes(`$ ${CONVERT}\n`));
});

test("the card in docs/adapters.md is read as it is told", (context) => {
  const folder = temporaryFolder(context);
  const [shown = ""] = blocks("adapters", "yaml");
  writeFileSync(join(folder, "README.md"), shown);
  const { task, license, examples, auto } = readCard(folder);
  assert.deepEqual([task, license, auto], ["Says it politely.", "apache-2.0", true]);
  assert.equal(examples.length, 2);
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

test("what docs/performance.md shows of a bench has the columns and stages that are printed", async () => {
  const small = ["--prompt", "16", "--tokens", "4", "--repeat", "1", "--max-batch", "1"];
  const limits = ["--threads", "1", "--kv-memory", "16MiB"];
  const { code, output } = await exitOf([
    ...["bench", "--model", join(TINY, "model"), "--stages", ...small, ...limits],
  ]);
  assert.equal(code, 0, output);
  const shape = (text: string) => text.replace(/[\d.]+(?: %)?/g, "0").replace(/ +/g, " ");
  const [shown = ""] = blocks("performance", "text");
  const [peaks, , ...rest] = shape(shown).trimEnd().split("\n");
  const printed = shape(output);
  assert.ok(printed.includes(`${peaks}\n`), `${peaks} in ${printed}`);
  for (const line of rest) assert.ok(printed.includes(`\n${line}`), `${line} in ${printed}`);
  assert.ok(rest.length >= 15); // a workload: two lines above, its columns, and twelve stages
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
