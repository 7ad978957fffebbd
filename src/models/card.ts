import { closeSync, readSync } from "node:fs";
import { join } from "node:path";
import { isAlias, Lexer, parseDocument, visit } from "yaml";
import { ModelError } from "./model-error.js";
import { openRegularFile } from "./regular-file.js";

/** An adapter's card: the front matter of its README.md, as on the Hugging Face hub. */

export interface AdapterCard {
  /** In a sentence; not a field of the hub's. */
  readonly task: string | null;
  readonly base: string | null;
  readonly license: string | null;
  readonly scores: readonly CardScore[];
  readonly examples: readonly CardExample[];
  /** Whether `model: "auto"` may choose it; not a field of the hub's. */
  readonly auto: boolean;
}

/** A metric of `model-index`. */
export interface CardScore {
  readonly dataset: string | null;
  readonly name: string;
  readonly value: number;
}

/** What a user may say to it. */
export type CardExample = readonly CardMessage[];

export interface CardMessage {
  readonly role: string;
  readonly content: string;
}

export const CARD_FILE = "README.md";
export const NO_CARD: AdapterCard = {
  task: null,
  base: null,
  license: null,
  scores: [],
  examples: [],
  auto: true,
};

/** Front matter is read in one go: some milliseconds at this size, where it is text in the main and not signs. */
const MOST_BYTES = 16 << 10;
/** Signs, texts and the blanks between them: as 64 examples of two messages each, and twice that again. */
const MOST_LEXEMES = 4096;
/** The parser calls itself for each level: thousands would use up the stack, which may end the process. */
const MOST_LEVELS = 64;
const MOST_EXAMPLES = 64;
const MOST_SCORES = 32;
const MOST_CHARACTERS = 4000; // of a text in it

type Json = Readonly<Record<string, unknown>>;

/** The card in a folder; NO_CARD where there is none. Throws ModelError that names what is wrong. */
export function readCard(folder: string): AdapterCard {
  const file = join(folder, CARD_FILE);
  const text = frontMatter(file);
  if (text === null) return NO_CARD;
  const fields = parsed(text, file);
  if (typeof (fields.auto ?? true) !== "boolean") {
    throw new ModelError(`${file}: auto must be true or false`);
  }
  return {
    task: textOf(fields.task),
    base: textOf(Array.isArray(fields.base_model) ? fields.base_model[0] : fields.base_model),
    license: textOf(fields.license),
    scores: scoresOf(fields["model-index"]),
    examples: examplesOf(fields.widget, file),
    auto: fields.auto !== false,
  };
}

/** What stands between the first two lines of three dashes. */
function frontMatter(file: string): string | null {
  const text = beginning(file);
  const opening = text === null ? null : /^\u{feff}?---[ \t]*\r?\n/u.exec(text);
  if (text === null || opening === null) return null;
  const rest = text.slice(opening[0].length);
  const end = /^---[ \t]*$/m.exec(rest.replaceAll("\r\n", "\n"));
  if (end === null) {
    throw new ModelError(`${file}: its front matter has no end within ${MOST_BYTES} bytes`);
  }
  return rest.replaceAll("\r\n", "\n").slice(0, end.index);
}

function beginning(file: string): string | null {
  let fd: number;
  try {
    fd = openRegularFile(file);
  } catch (error) {
    const { cause } = error as { cause?: NodeJS.ErrnoException };
    if (cause?.code === "ENOENT") return null;
    throw error;
  }
  try {
    const bytes = Buffer.alloc(MOST_BYTES);
    return bytes.toString("utf8", 0, readSync(fd, bytes, 0, MOST_BYTES, 0));
  } finally {
    closeSync(fd);
  }
}

function parsed(text: string, file: string): Json {
  if (levelsAtMost(text) > MOST_LEVELS) {
    throw new ModelError(`${file}: front matter is nested deeper than ${MOST_LEVELS} levels`);
  }
  if (hasMoreLexemes(text, MOST_LEXEMES)) {
    throw new ModelError(`${file}: front matter has more than ${MOST_LEXEMES} signs and texts`);
  }
  const document = parseDocument(text, { prettyErrors: false, logLevel: "silent" });
  const [error] = document.errors;
  if (error !== undefined) {
    const line = text.slice(0, error.pos[0]).split("\n").length;
    throw new ModelError(`${file}: front matter: ${error.message} in line ${line}`);
  }
  visit(document, (_, node) => {
    // One that stands for a list of others, and so on, is small in the file and huge in memory.
    if (isAlias(node)) throw new ModelError(`${file}: front matter: aliases are not read`);
  });
  const value: unknown = document.toJS();
  if (isObject(value)) return value;
  throw new ModelError(`${file}: front matter must hold fields and their values`);
}

/** Brackets that are open at once, wherever they stand, or marks of lists and keys in a row; indented levels are few in so few bytes. */
function levelsAtMost(text: string): number {
  let most = 0;
  let open = 0;
  for (const character of text) {
    if (character === "[" || character === "{") most = Math.max(most, ++open);
    else if (character === "]" || character === "}") open = Math.max(0, open - 1);
  }
  for (const [marks] of text.matchAll(/(?:[-?:][ \t]+)+/g)) {
    most = Math.max(most, marks.split(/[ \t]+/).length - 1);
  }
  return most;
}

function hasMoreLexemes(text: string, most: number): boolean {
  let count = 0;
  for (const _ of new Lexer().lex(text)) if (++count > most) return true;
  return false;
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function textOf(value: unknown): string | null {
  return typeof value === "string" ? wellFormed(value.slice(0, MOST_CHARACTERS)) : null;
}

/** Halves of surrogate pairs, which escapes can say and a cut can leave, are no characters: clients could not read them. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\u{fffd}");
}

function objectsOf(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** What is no score is left out: cards on the hub say many things there. */
function scoresOf(index: unknown): CardScore[] {
  const scores = objectsOf(index).flatMap(({ results }) =>
    objectsOf(results).flatMap(({ dataset, metrics }) =>
      objectsOf(metrics).flatMap(({ name, type, value }): CardScore[] => {
        const called = textOf(name) ?? textOf(type);
        if (called === null || typeof value !== "number" || !Number.isFinite(value)) return [];
        return [{ dataset: isObject(dataset) ? textOf(dataset.name) : null, name: called, value }];
      }),
    ),
  );
  return scores.slice(0, MOST_SCORES);
}

/** Of the widget's entries those that are text: as `messages` or as `text`. */
function examplesOf(widget: unknown, file: string): CardExample[] {
  const examples = objectsOf(widget).flatMap(({ messages, text }): CardExample[] => {
    const told = objectsOf(messages).flatMap(({ role, content }): CardMessage[] => {
      const [who, what] = [textOf(role), textOf(content)];
      return who === null || what === null ? [] : [{ role: who, content: what }];
    });
    if (told.length > 0) return [told];
    const said = textOf(text);
    return said === null ? [] : [[{ role: "user", content: said }]];
  });
  if (examples.length <= MOST_EXAMPLES) return examples;
  throw new ModelError(
    `${file}: widget holds ${examples.length} examples; at most ${MOST_EXAMPLES} are read`,
  );
}
