import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { EncoderThread } from "../src/encoders/encoder.js";
import { fakeContext } from "../src/engine/fake.js";
import { serve } from "./harness.js";
import { fakeGrammars } from "./support/grammars.js";

const ENCODER = fileURLToPath(new URL("../../test/fixtures/encoder", import.meta.url));

const document = readFileSync(new URL("../../docs/api.md", import.meta.url), "utf8");

function blocks(language: string): string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms");
  return [...document.matchAll(fence)].map((match) => match[1] as string);
}

/** The fake model and the tiny encoder under the names that the document uses. */
async function serveDocumented(t: TestContext): Promise<string> {
  const thread = await EncoderThread.start(ENCODER, 1);
  t.after(() => thread.close());
  const encoder = {
    name: "all-MiniLM-L6-v2",
    root: thread.root,
    created: thread.created,
    maxTokens: thread.maxTokens,
    width: thread.width,
    vocab: thread.vocab,
    dimensions: thread.dimensions,
    encode: (inputs: Parameters<typeof thread.encode>[0]) => thread.encode(inputs),
  };
  const { url } = await serve(t, {
    context: (generator) => {
      const plain = fakeContext(generator, { maxModelLen: 4096 });
      const grammars = fakeGrammars(plain);
      t.after(() => grammars.close());
      const context = { ...plain, encoder, grammars };
      const base = { ...context.models.base, name: "smollm2-135m-instruct" };
      const models = { ...context.models, base, find: () => base };
      const name = base.name;
      const choose = async () => ({ name, nearest: null, score: 0 });
      return {
        ...context,
        models,
        router: { ready: true, broken: false, root: "/encoder", choose },
      };
    },
  });
  return url;
}

test("docs/api.md shows nothing that is not run below", () => {
  const languages = new Set([...document.matchAll(/^```(\w+)/gm)].map((match) => match[1]));
  assert.deepEqual([...languages].sort(), ["js", "sh"]);
});

test("the requests in docs/api.md are answered", async (t) => {
  const url = await serveDocumented(t);
  const requests = blocks("sh");
  assert.equal(requests.length, 4);
  for (const request of requests) {
    const [, path, body] = /8080(\S+) .*-d '(.*)'/s.exec(request) ?? [];
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${url}${path}`, { method: "POST", headers, body: body ?? "" });
    assert.equal(response.status, 200, request);
  }
});

test("the programs in docs/api.md run as they stand", async (t) => {
  const url = await serveDocumented(t);
  const programs = blocks("js");
  assert.equal(programs.length, 8);
  for (const program of programs) {
    const { stdout } = await runProgram(t, program, url);
    assert.notEqual(stdout, "", program);
  }
});

test("the WebSocket program in docs/api.md ends when it is refused", async (t) => {
  const url = await serveDocumented(t);
  const program = blocks("js").find((block) => block.includes("new WebSocket")) ?? "";
  const refused = program.replace('role: "user"', 'role: "stranger"');
  const { stdout, stderr } = await runProgram(t, refused, url);
  assert.equal(stdout, "");
  assert.match(stderr, /stranger/);
});

/** As it stands, but for the address. */
function runProgram(t: TestContext, program: string, url: string) {
  const file = fileURLToPath(new URL(`api-docs-${randomUUID()}.mjs`, import.meta.url));
  writeFileSync(file, program.replaceAll("127.0.0.1:8080", url.replace("http://", "")));
  t.after(() => rmSync(file, { force: true }));
  return promisify(execFile)(process.execPath, [file], { timeout: 20_000 });
}
