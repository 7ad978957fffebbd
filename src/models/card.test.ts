import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type AdapterCard, NO_CARD, readCard } from "./card.js";
import { ModelError } from "./model-error.js";

const ADAPTERS = fileURLToPath(new URL("../../../models/adapters", import.meta.url));

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "smore-card-"));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

function read(t: TestContext, text: string): AdapterCard {
  const path = folder(t);
  writeFileSync(join(path, "README.md"), text);
  return readCard(path);
}

const CARD = `---
license: mit
base_model: [org/base, org/other]
task: "Says it politely."
model-index:
  - name: polite
    results:
      - dataset: {name: 20 cases}
        metrics:
          - {type: exact_match, value: 0.75}
          - {type: exact_match, name: told, value: "n/a"}
  - results: none
widget:
  - text: where is my order?
  - messages: [{role: system, content: Be kind.}, {role: user, content: Go away}]
  - src: picture.png
---

# polite
---
`;

test("a card tells task, base, licence, scores and examples", (t) => {
  assert.deepEqual(read(t, CARD), {
    task: "Says it politely.",
    base: "org/base",
    license: "mit",
    scores: [{ dataset: "20 cases", name: "exact_match", value: 0.75 }],
    examples: [
      [{ role: "user", content: "where is my order?" }],
      [
        { role: "system", content: "Be kind." },
        { role: "user", content: "Go away" },
      ],
    ],
    auto: true,
  });
  assert.deepEqual(read(t, CARD.replaceAll("\n", "\r\n")).examples, read(t, CARD).examples);
  assert.equal(read(t, CARD.replace("license: mit", "auto: false")).auto, false);
});

test("a folder without a card, or with a page that has no front matter, tells nothing", (t) => {
  assert.deepEqual(readCard(folder(t)), NO_CARD);
  assert.deepEqual(read(t, "# polite\n\n---\nno: matter\n---\n"), NO_CARD);
  assert.deepEqual(read(t, ""), NO_CARD);
});

test("a card that cannot be read is refused by what is wrong", (t) => {
  const wrong: readonly (readonly [text: string, message: RegExp])[] = [
    ["---\ntask: one\n", /README\.md: its front matter has no end within 16384 bytes/],
    [`---\ntask: ${"x".repeat(20_000)}\n---\n`, /has no end within 16384 bytes/],
    ["---\ntask: [one\n---\n", /README\.md: front matter: .* in line 2/],
    ["---\n- task\n---\n", /front matter must hold fields and their values/],
    ["---\nauto: sometimes\n---\n", /auto must be true or false/],
    ["---\na: &a [x, x]\nb: [*a, *a]\n---\n", /front matter: aliases are not read/],
    [`---\nwidget:\n${"- text: x\n".repeat(65)}---\n`, /widget holds 65 examples; at most 64/],
  ];
  for (const [text, message] of wrong) {
    assert.throws(() => read(t, text), { name: ModelError.name, message });
  }
});

test("a card that is nested very deep is refused before the parser's stack is used up", (t) => {
  for (const deep of ["[", "a: [", "{a: ", "- ", "? "]) {
    const text = `---\na: 1\nb: ${deep.repeat(3000)}\n---\n`;
    assert.throws(() => read(t, text), { name: ModelError.name, message: /nested deeper than 64/ });
  }
  assert.equal(read(t, `---\ntask: "${"[]".repeat(500)}"\n---\n`).task, "[]".repeat(500));
});

test("a card of nothing but signs is refused before they are parsed, and no card that people write is", (t) => {
  for (const sign of [",", ":\n", "]", "a,", "!x "]) {
    const text = `---\na: [${sign.repeat(16_000 / sign.length)}\n---\n`;
    assert.throws(() => read(t, text), {
      name: ModelError.name,
      message: /README\.md: front matter has more than 4096 signs and texts/,
    });
  }
  const example =
    "  - messages: [{role: system, content: Be kind, do.}, {role: user, content: Go}]\n";
  assert.equal(read(t, `---\nwidget:\n${example.repeat(64)}---\n`).examples.length, 64);
  const stacks = Error.stackTraceLimit;
  assert.throws(() => read(t, `---\na: [${",".repeat(3000)}\n---\n`), /README\.md: front matter: /);
  assert.equal(Error.stackTraceLimit, stacks);
});

test("halves of characters in a card are no characters", (t) => {
  const card = read(t, `---\ntask: "one \\ud83d two \\udca9\\ud83d\\ude00"\n---\n`);
  assert.equal(card.task, "one \u{fffd} two \u{fffd}\u{1f600}");
  const cut = read(t, `---\ntask: ${"x".repeat(3999)}\u{1f600}\n---\n`);
  assert.equal(cut.task, `${"x".repeat(3999)}\u{fffd}`);
});

test("a pipe in the place of a card holds nobody up", (t) => {
  const path = folder(t);
  execFileSync("mkfifo", [join(path, "README.md")]);
  assert.throws(() => readCard(path), /is not a regular file/);
});

test("the adapters that come with the server have cards with examples of what they are for", () => {
  for (const name of readdirSync(ADAPTERS)) {
    const card = readCard(join(ADAPTERS, name));
    assert.equal(card.license, "apache-2.0", name);
    assert.equal(card.base, "HuggingFaceTB/SmolLM2-135M-Instruct", name);
    assert.ok(card.task !== null && card.scores.length >= 3, name);
    if (card.auto) assert.ok(card.examples.length >= 20, name);
  }
});
