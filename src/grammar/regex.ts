import {
  anyOf,
  type CodeRanges,
  characterClass,
  complement,
  EbnfError,
  MAX_CHARACTERS,
  normalized,
  repeated,
} from "./ebnf.js";

/**
 * Regular expressions as grammars: the part of ECMAScript's syntax that describes a text and nothing
 * around it; \\s and line ends are ASCII's alone. What has no equal in a grammar (look-around, references, word borders) is refused by name.
 */
export class RegexError extends EbnfError {}

/** How one of several code points is written where the expression stands. */
export type CharacterWriter = (ranges: CodeRanges) => string;

const DEEPEST = 50;
const MOST_REPEATS = 10_000;
const LONGEST = 100_000;
const MOST_MEMBERS = 1000; // of a class

const DIGITS: CodeRanges = [[0x30, 0x39]];
const WORD: CodeRanges = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
const SPACE: CodeRanges = [
  [0x09, 0x0d],
  [0x20, 0x20],
];
const LINE_ENDS: CodeRanges = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
];
const ANY = complement(LINE_ENDS);
const CLASSES: Readonly<Record<string, CodeRanges>> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORD,
  W: complement(WORD),
  s: SPACE,
  S: complement(SPACE),
};
const CONTROLS: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, "0": 0 };

/** The texts that match `pattern` from their first character to their last, as an EBNF expression. */
export function* regexToEbnf(
  pattern: string,
  write: CharacterWriter = characterClass,
): Generator<void, string> {
  if (pattern.length > LONGEST) {
    throw new RegexError(`an expression of more than ${LONGEST} characters`);
  }
  return yield* new Parser(pattern, write).whole();
}

class Parser {
  readonly #text: string;
  readonly #write: CharacterWriter;
  /** What single characters are written as. */
  readonly #written = new Map<string, string>();
  #at = 0;
  #depth = 0;
  #characters = 0; // of the grammar

  constructor(pattern: string, write: CharacterWriter) {
    this.#text = pattern;
    this.#write = write;
  }

  /** ^ and $ say at the borders what is meant anyway. */
  *whole(): Generator<void, string> {
    const text = this.#text;
    this.#take("^");
    const end = text.length - (endsWithAnchor(text) ? 1 : 0);
    const body = yield* this.#alternatives(end);
    if (this.#at < end) throw this.#refuse(`an unmatched ")"`);
    // With alternatives an anchor would belong to the first or the last of them alone.
    if (body.several && (text[0] === "^" || end < text.length)) {
      throw new RegexError("^ and $ around alternatives: write them as ^(a|b)$");
    }
    return body.text;
  }

  *#alternatives(end: number): Generator<void, { text: string; several: boolean }> {
    if (++this.#depth > DEEPEST) throw new RegexError(`groups nested more than ${DEEPEST} deep`);
    const branches = [yield* this.#sequence(end)];
    while (this.#at < end && this.#take("|")) branches.push(yield* this.#sequence(end));
    this.#depth--;
    return { text: anyOf(branches), several: branches.length > 1 };
  }

  *#sequence(end: number): Generator<void, string> {
    const parts: string[] = [];
    for (let next = this.#peek(); this.#at < end && next !== "|" && next !== ")"; ) {
      parts.push(this.#quantified(yield* this.#atom(end), end));
      next = this.#peek();
      yield;
    }
    return parts.length === 0 ? `""` : parts.join(" ");
  }

  *#atom(end: number): Generator<void, string> {
    const char = this.#next();
    switch (char) {
      case "(":
        return yield* this.#group(end);
      case "[":
        return this.#class(this.#bracket(end));
      case ".":
        return this.#single(char, ANY);
      case "\\":
        return this.#class(this.#escape(end));
      case "^":
      case "$":
        throw this.#refuse(`"${char}" inside the expression`);
      case "*":
      case "+":
      case "?":
        throw this.#refuse(`"${char}" with nothing to repeat`);
    }
    return this.#single(char, one(char));
  }

  /** What a character of the expression stands for: many are the same. */
  #single(char: string, ranges: CodeRanges): string {
    const written = this.#written.get(char) ?? this.#write(ranges);
    this.#written.set(char, written);
    return this.#counted(written);
  }

  #class(ranges: CodeRanges): string {
    return this.#counted(this.#write(ranges));
  }

  #counted(text: string): string {
    this.#characters += text.length;
    if (this.#characters <= MAX_CHARACTERS) return text;
    throw new RegexError(`its grammar has more than ${MAX_CHARACTERS} characters`);
  }

  *#group(end: number): Generator<void, string> {
    if (this.#take("?") && !this.#take(":")) throw this.#refuse(`the group (?${this.#peek()}`);
    const { text } = yield* this.#alternatives(end);
    if (this.#at >= end || !this.#take(")")) throw this.#refuse(`an unclosed "("`);
    return `(${text})`;
  }

  #quantified(atom: string, end: number): string {
    if (this.#at >= end) return atom;
    const rest = this.#text.slice(this.#at, Math.min(end, this.#at + 20));
    const match = /^(?:[*+?]|\{(\d+)(,(\d*))?\})/.exec(rest);
    if (match === null) return atom;
    this.#at += match[0].length;
    this.#take("?"); // lazy: the texts that match are the same
    const [min, max] = bounds(match);
    if (min > max) throw this.#refuse(`the repetition ${match[0]}`);
    if (Math.max(min, max === Infinity ? 0 : max) > MOST_REPEATS) {
      throw new RegexError(`${match[0]}: more than ${MOST_REPEATS} repetitions`);
    }
    return repeated(atom, min, max);
  }

  #bracket(end: number): CodeRanges {
    const negated = this.#take("^");
    const ranges: [number, number][] = [];
    while (this.#at < end && !this.#take("]")) {
      if (ranges.length > MOST_MEMBERS) throw this.#refuse(`a class of over ${MOST_MEMBERS} parts`);
      const low = this.#member(end);
      const isRange = this.#text[this.#at] === "-" && this.#text[this.#at + 1] !== "]";
      if (!isRange) {
        ranges.push(...(low as [number, number][]));
        continue;
      }
      this.#at++;
      const high = this.#member(end);
      const [from, to] = [low[0]![0], high[0]![1]];
      if (!isSingle(low) || !isSingle(high) || from > to) throw this.#refuse("a range in [...]");
      ranges.push([from, to]);
    }
    if (this.#text[this.#at - 1] !== "]") throw this.#refuse(`an unclosed "["`);
    if (ranges.length === 0) throw this.#refuse("an empty class");
    return negated ? complement(ranges) : normalized(ranges);
  }

  #member(end: number): CodeRanges {
    if (this.#at >= end) throw this.#refuse(`an unclosed "["`);
    const char = this.#next();
    return char === "\\" ? this.#escape(end) : one(char);
  }

  #escape(end: number): CodeRanges {
    const char = this.#at < end ? this.#next() : "";
    const named = CLASSES[char];
    if (named !== undefined) return named;
    const control = CONTROLS[char];
    if (control !== undefined) return [[control, control]];
    const digits = { x: 2, u: 4 }[char];
    if (digits !== undefined) {
      const hex = this.#text.slice(this.#at, this.#at + digits);
      if (!new RegExp(`^[0-9a-fA-F]{${digits}}$`).test(hex)) throw this.#refuse(`\\${char}`);
      this.#at += digits;
      return [[Number.parseInt(hex, 16), Number.parseInt(hex, 16)]];
    }
    if (char === "" || /[A-Za-z0-9]/.test(char)) throw this.#refuse(`\\${char}`);
    return one(char);
  }

  /** The next character, "" at the end. */
  #peek(): string {
    const code = this.#text.codePointAt(this.#at);
    return code === undefined ? "" : String.fromCodePoint(code);
  }

  #next(): string {
    const char = this.#peek();
    this.#at += char.length;
    return char;
  }

  #take(char: string): boolean {
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #refuse(what: string): RegexError {
    return new RegexError(`${what} is not supported (character ${this.#at})`);
  }
}

/** Whether it ends with a $ that no backslash escapes. */
function endsWithAnchor(text: string): boolean {
  if (!text.endsWith("$")) return false;
  let backslashes = 0;
  while (text[text.length - 2 - backslashes] === "\\") backslashes++;
  return backslashes % 2 === 0;
}

function one(char: string): CodeRanges {
  const code = char.codePointAt(0)!;
  return [[code, code]];
}

function isSingle(ranges: CodeRanges): boolean {
  return ranges.length === 1 && ranges[0]![0] === ranges[0]![1];
}

function bounds([text, min, comma, max]: RegExpExecArray): readonly [number, number] {
  if (min === undefined) {
    return text === "*" ? [0, Infinity] : text === "+" ? [1, Infinity] : [0, 1];
  }
  if (comma === undefined) return [Number(min), Number(min)];
  return [Number(min), max === "" ? Infinity : Number(max)];
}
