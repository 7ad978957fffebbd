import assert from "node:assert/strict";
import { execFile } from "node:child_process";
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
    const run = promisify(execFile);
    for (const [i, program] of blocks("js").entries()) {
      const needsWebSocket = program.includes("new WebSocket");
      const file = fileURLToPath(new URL(`readme-${i}.mjs`, import.meta.url));
      const imports = needsWebSocket ? 'import { WebSocket } from "ws";\n' : "";
      writeFileSync(
        file,
        imports + program.replaceAll("127.0.0.1:8080", url.replace("http://", "")),
      );
      test.after(() => rmSync(file, { force: true }));
      const { stdout } = await run(process.execPath, [file], { timeout: 20_000 });
      assert.notEqual(stdout, "", program);
    }
  });
});
