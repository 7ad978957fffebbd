import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { describe, it, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { flagName } from "../src/cli/options.js";
import { SERVE_OPTIONS } from "../src/config.js";
import { fakeContext } from "../src/engine/fake.js";
import { serve } from "./harness.js";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const BASE = "smollm2-135m-instruct";

function blocks(language: string): string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms");
  return [...readme.matchAll(fence)].map((match) => match[1] as string);
}

/** The fake model under the names that the README uses. */
function serveReadmeModels(test: TestContext) {
  return serve(test, {
    context: (generator) => {
      const context = fakeContext(generator, {}, ["function-calls"]);
      const models = context.models
        .list()
        .map((model) =>
          model.parent === null ? { ...model, name: BASE } : { ...model, parent: BASE },
        );
      const [base = context.models.base] = models;
      const find = (name: string) => models.find((model) => model.name === name);
      return { ...context, models: { base, list: () => models, find } };
    },
  });
}

describe("the README", () => {
  it("has every option of smore serve, and no other", () => {
    const table = /^## Options of `smore serve`\n(.*?)^## /ms.exec(readme)?.[1] ?? "";
    const written = [...table.matchAll(/^\| `(--[a-z-]+)/gm)].map((match) => match[1]);
    assert.deepEqual(written, Object.keys(SERVE_OPTIONS).map(flagName));
  });

  it("shows requests that are answered", async (test) => {
    const { url } = await serveReadmeModels(test);
    const requests = blocks("sh").filter((block) => block.startsWith("curl "));
    assert.ok(requests.length >= 2);
    for (const request of requests) {
      const [, path, body] = /8080(\S+) .*-d '(.*)'/s.exec(request) ?? [];
      const headers = { "content-type": "application/json" };
      const response = await fetch(`${url}${path}`, { method: "POST", headers, body: body ?? "" });
      assert.equal(response.status, 200, request);
    }
  });

  it("shows programs that run as they stand", async (test) => {
    const { url } = await serveReadmeModels(test);
    for (const program of blocks("js")) {
      const { stdout } = await runProgram(test, program, url);
      assert.notEqual(stdout, "", program);
    }
  });

  it("shows a WebSocket program that ends when it is refused", async (test) => {
    const { url } = await serveReadmeModels(test);
    const program = blocks("js").find((block) => block.includes("new WebSocket")) ?? "";
    const { stdout, stderr } = await runProgram(test, program.replace(BASE, "nope"), url);
    assert.equal(stdout, "");
    assert.match(stderr, /nope/);
  });
});

/** As it stands, but for the address. */
function runProgram(test: TestContext, program: string, url: string) {
  const file = fileURLToPath(new URL(`readme-${randomUUID()}.mjs`, import.meta.url));
  const here = program.replaceAll("127.0.0.1:8080", url.replace("http://", ""));
  writeFileSync(file, here);
  test.after(() => rmSync(file, { force: true }));
  return promisify(execFile)(process.execPath, [file], { timeout: 20_000 });
}
