import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { CommandError } from "../../src/cli/command.js";
import { answersOf } from "./compare.js";

test("a server that answers something else is told in one line that names its command", async (t) => {
  const path = join(mkdtempSync(join(tmpdir(), "smore-peer-")), "server.mjs");
  t.after(() => rmSync(dirname(path), { recursive: true }));
  const models = '{"data": [{"id": "m"}]}';
  const told = async (ofModels: string, ofCompletions: string) => {
    const answers = `{ "/health": "", "/v1/models": \`${ofModels}\`, "/v1/completions": \`${ofCompletions}\` }`;
    writeFileSync(
      path,
      `import { createServer } from "node:http";
const answers = ${answers};
const server = createServer((request, response) => {
  const answer = answers[request.url];
  if (answer === "hang up") request.destroy();
  else response.end(answer);
});
server.listen(Number(process.argv.at(-1)), "127.0.0.1");
`,
    );
    const served = { program: [process.execPath, path], args: ["-m", "x"], timeout: 60 } as const;
    const error = await answersOf(served, ["a"], ["b"], 1).catch((e) => e);
    assert.ok(error instanceof CommandError, String(error));
    const command = `${process.execPath} ${path} -m x: `;
    assert.ok(error.message.startsWith(command), error.message);
    return error.message.slice(command.length).replace(/^http:\S+/, "URL");
  };
  const logprobs = '"logprobs": {"top_logprobs": [{"token_id:3": -1}]}';
  for (const odd of ["hello", "null", "{}", '{"choices": []}', `{"choices": [{${logprobs}}]}`]) {
    const said = `/v1/completions answers HTTP 200 with ${JSON.stringify(odd)}`;
    assert.equal(await told(models, odd), said);
  }
  assert.match(await told(models, "hang up"), /^\/v1\/completions: no answer: .+$/);
  assert.match(
    await told(models, '{"choices": [{"text": "a"}]}'),
    /^\/v1\/completions answers without log probabilities of tokens$/,
  );
  assert.match(await told("hello", ""), /^URL no answer: .+$/);
  for (const odd of ["{}", '{"data": "m"}', '{"data": [null]}']) {
    assert.equal(await told(odd, ""), "URL /v1/models lists no model");
  }
});
