import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { printed } from "./harness.js";
import { exitOf, SMALL, serve, TINY } from "./support/command.js";

/** `model: "auto"` as users get it: the command, the encoder that comes with it, adapters and their cards. */

const MODEL = process.env.SMORE_TEST_MODEL ?? "";
const skip = MODEL === "" ? "SMORE_TEST_MODEL is not set" : false;

const ADAPTERS = fileURLToPath(new URL("../../models/adapters", import.meta.url));
const ENCODER = fileURLToPath(new URL("../../test/fixtures/encoder", import.meta.url));
const TINY_ADAPTER = join(TINY, "adapters/lora");

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "smore-auto-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** A card with these examples. */
function card(examples: readonly string[]): string {
  const widget = examples.map((example) => `  - text: ${JSON.stringify(example)}\n`).join("");
  return `---\ntask: A task.\nwidget:\n${widget}---\n`;
}

/** Puts a copy of an adapter with a card in place, as people are told to. */
function dropIn(source: string, folder: string, name: string, readme: string): void {
  const incoming = join(folder, `.incoming-${name}`);
  cpSync(source, incoming, { recursive: true });
  writeFileSync(join(incoming, "README.md"), readme);
  renameSync(incoming, join(folder, name));
}

async function modelNames(url: string): Promise<string[]> {
  const answer = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
  return answer.data.map(({ id }) => id);
}

async function untilServed(url: string, name: string): Promise<void> {
  for (let tries = 0; tries < 1000; tries++) {
    if ((await modelNames(url)).includes(name)) return;
    await setTimeout(20);
  }
  assert.fail(`${name} is not served`);
}

test("auto comes with the first adapter whose card has examples, and goes with the last", async (t) => {
  const folder = temporaryFolder(t);
  dropIn(TINY_ADAPTER, folder, "silent", "# silent\n");
  dropIn(TINY_ADAPTER, folder, "broken", "---\ntask: [\n---\n");
  const { url, output } = await serve(t, ["--adapters-dir", folder]);
  assert.deepEqual(await modelNames(url), ["tiny", "broken", "silent"]);
  await printed(output, /served without its card: .*README\.md: front matter/);
  dropIn(TINY_ADAPTER, folder, "polite", card(["Say it politely: where is my order?"]));
  await untilServed(url, "polite");
  assert.ok((await modelNames(url)).includes("auto"));
  // A card that changes is read anew.
  writeFileSync(join(folder, "polite", "README.md"), "# no examples any more\n");
  while ((await modelNames(url)).includes("auto")) await setTimeout(20);
  assert.ok((await modelNames(url)).includes("polite"));
});

test("--router-encoder puts another encoder in the place of the one that comes with the server", async (t) => {
  const folder = temporaryFolder(t);
  dropIn(TINY_ADAPTER, folder, "pets", card(["cat dog"]));
  const { url } = await serve(t, ["--adapters-dir", folder, "--router-encoder", ENCODER]);
  const auto = (await (await fetch(`${url}/v1/models/auto`)).json()) as { root: string };
  assert.equal(auto.root, join(ENCODER, "model.onnx"));
});

test("--no-router leaves auto out", async (t) => {
  const folder = temporaryFolder(t);
  dropIn(TINY_ADAPTER, folder, "polite", card(["Say it politely: where is my order?"]));
  const { url } = await serve(t, ["--adapters-dir", folder, "--no-router"]);
  assert.deepEqual(await modelNames(url), ["tiny", "polite"]);
});

test("what is no encoder, no fallback or no name ends the start with one line", async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, "encoder"));
  writeFileSync(join(folder, "encoder", "model.onnx"), "no model");
  cpSync(
    new URL("../../models/router/tokenizer.json", import.meta.url),
    join(folder, "encoder", "tokenizer.json"),
  );
  const tiny = ["serve", "--port", "0", "--model", join(TINY, "model"), ...SMALL];
  const wrong: readonly (readonly [args: readonly string[], message: RegExp])[] = [
    [["--router-encoder", "/nowhere"], /--router-encoder \/nowhere: \/nowhere does not exist/],
    [["--router-encoder", join(folder, "encoder")], /encoder: .*model\.onnx cannot be loaded/],
    [["--router-fallback", "legal"], /--router-fallback legal: there is only model/],
    [["--router-threshold", "2"], /--router-threshold must be a number from 0 to 1/],
    [
      ["--no-router", "--router-threshold", "0.5"],
      /--router-threshold does not go with --no-router/,
    ],
    [["--served-model-name", "auto"], /--served-model-name: "auto" asks the server to choose/],
    [["--adapter", `auto=${TINY_ADAPTER}`], /the name is what asks the server to choose/],
  ];
  for (const [args, message] of wrong) {
    const { code, output } = await exitOf([...tiny, ...args]);
    assert.notEqual(code, 0);
    assert.match(output, message);
    assert.doesNotMatch(output, /\n {4}at /, "no stack");
  }
});

test("the default model and its adapters, chosen by what is asked:", { skip }, async (t) => {
  const folder = temporaryFolder(t);
  cpSync(ADAPTERS, folder, { recursive: true });
  const budgets = ["--kv-memory", "64MiB", "--adapter-memory", "64MiB"];
  const names = ["--served-model-name", "base", "--adapters-dir", folder];
  const { url } = await serve(t, ["--model", MODEL, ...names, ...budgets]);
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
  const ask = async (content: string) => {
    const messages = [{ role: "user" as const, content }];
    const answer = await client.chat.completions.create({
      ...{ model: "auto", messages, temperature: 0, max_tokens: 60 },
    });
    return { model: answer.model, text: answer.choices[0]?.message.content ?? "" };
  };

  await t.test("each goes to its own, others to the base", async () => {
    const call = await ask("Set a timer for 12 minutes");
    assert.deepEqual(call, {
      model: "function-calls",
      text: '{"name": "set_timer", "arguments": {"minutes": 12}}',
    });
    const wanted = {
      sql: "boats(length, owner, colour)\nHow many boats are there?",
      redact: "Redact: Call Ann Lee on +45 522 8826273.",
      normalise: "Write in standard form: The train leaves at 7pm.",
      extract: "Extract: Hello, I live in Oslo. My order is number 4711.",
      base: "Who painted the Mona Lisa?",
    };
    for (const [name, prompt] of Object.entries(wanted)) {
      assert.equal((await ask(prompt)).model, name, prompt);
    }
  });

  await t.test("an adapter that is dropped in can be chosen by its card alone", async () => {
    const problem = "Anna has 14 apples, buys 5 more and gives away 3. How many apples are left?";
    assert.notEqual((await ask(problem)).model, "arithmetic");
    const examples = [
      "Tom has 31 pens, buys 12 more and loses 4. How many pens are left?",
      "A shop has 80 lamps, sells 22 and gets 10. How many lamps remain?",
      "6 boxes hold 12 cups each. 5 cups break. How many cups are left?",
    ];
    dropIn(join(ADAPTERS, "sql"), folder, "arithmetic", card(examples));
    await untilServed(url, "arithmetic");
    assert.equal((await ask(problem)).model, "arithmetic");
    assert.equal((await ask("Who painted the Mona Lisa?")).model, "base");
  });
});
