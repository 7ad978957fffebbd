/** Pieces of the grammar dialect that the matcher reads: literals, character classes, rules. */

const MAX_RULES = 5_000;
/** Of all rules together: texts of so many are looked up and sent to workers in a millisecond or two. */
export const MAX_CHARACTERS = 2 << 20;
const RULES_PER_STEP = 256;

/** The grammar that is being written; bodies are EBNF expressions. */
export class GrammarWriter {
  readonly #bodies = new Map<string, string>();
  #characters = 0;

  /** Defines a rule of this name once; `body` is asked for the first time only. Returns the name. */
  shared(name: string, body: () => string): string {
    if (this.begin(name)) this.define(name, body());
    return name;
  }

  /** Whether the rule of this name is new: then it is to be defined, and its body may mention it. */
  begin(name: string): boolean {
    if (this.#bodies.has(name)) return false;
    if (this.#bodies.size >= MAX_RULES) throw new RangeError("the grammar has too many rules");
    this.#bodies.set(name, "");
    return true;
  }

  define(name: string, body: string): void {
    this.#characters += name.length + body.length;
    if (this.#characters > MAX_CHARACTERS) {
      throw new RangeError(`the grammar has more than ${MAX_CHARACTERS} characters`);
    }
    this.#bodies.set(name, body);
  }

  /** Defines a rule under a name of its own. */
  rule(body: string): string {
    const name = `r${this.#bodies.size}`;
    this.begin(name);
    this.define(name, body);
    return name;
  }

  /** How many rules there are. */
  get size(): number {
    return this.#bodies.size;
  }

  /** Forgets all rules but the first `size`. */
  cut(size: number): void {
    for (const name of [...this.#bodies.keys()].slice(size)) {
      this.#characters -= name.length + this.#bodies.get(name)!.length;
      this.#bodies.delete(name);
    }
  }

  /** The whole grammar, which starts at `root`. */
  *text(root: string): Generator<void, string> {
    const rules = [...this.#bodies];
    const parts = [`root ::= ${root}`];
    for (let i = 0; i < rules.length; i += RULES_PER_STEP) {
      const some = rules.slice(i, i + RULES_PER_STEP);
      parts.push(some.map(([name, body]) => `${name} ::= ${body}`).join("\n"));
      yield;
    }
    return parts.join("\n");
  }
}

export function literal(text: string): string {
  return `"${text.replace(NOT_PLAIN, (char) => escaped(char.codePointAt(0)!))}"`;
}

const NOT_PLAIN = /[^A-Za-z0-9 _:,.{}<>/]/gu;

/** Alternatives in parentheses. */
export function anyOf(alternatives: readonly string[]): string {
  return alternatives.length === 1 ? alternatives[0]! : `(${alternatives.join(" | ")})`;
}

/** `body` from `min` to `max` times. */
export function repeated(body: string, min: number, max: number): string {
  if (min === 1 && max === 1) return body;
  if (max === 0) return `""`;
  if (max === Infinity && min <= 1) return `(${body})${min === 0 ? "*" : "+"}`;
  if (min === 0 && max === 1) return `(${body})?`;
  return `(${body}){${min},${max === Infinity ? "" : max}}`;
}

/** Inclusive ranges of code points. */
export type CodeRanges = readonly (readonly [low: number, high: number])[];

/** Halves of UTF-16 pairs: no text in UTF-8 has them. */
const SURROGATES = [0xd800, 0xdfff] as const;
const LAST_CODE_POINT = 0x10ffff;
const ASCII: CodeRanges = [[0, 0x7f]];

/** What no grammar can say. */
export class EbnfError extends Error {}

const MOST_LETTERS = 256; // of a class, beyond ASCII

/**
 * One of these code points. The matcher gets ranges beyond ASCII wrong (it lets ASCII through), so such
 * letters are all in, by a negated class, or named one by one.
 */
export function characterClass(ranges: CodeRanges): string {
  const [first] = ranges;
  if (ranges.length === 1 && first![0] === first![1] && first![0] < 0x80) {
    return `[${escaped(first![0])}]`;
  }
  const ascii = intersection(ranges, ASCII);
  const beyond = intersection(ranges, complement(ASCII));
  if (beyond.length === 0) return `[${rangesText(ascii)}]`;
  if (complement([...beyond, ...ASCII]).length === 0) {
    return `[^${rangesText(intersection(complement(ascii), ASCII))}]`;
  }
  const letters = beyond.reduce((sum, [low, high]) => sum + high - low + 1, 0);
  if (letters > MOST_LETTERS) {
    throw new EbnfError(`a class of more than ${MOST_LETTERS} letters beyond ASCII, but not all`);
  }
  const named = beyond.flatMap(([low, high]) =>
    Array.from({ length: high - low + 1 }, (_, i) => literal(String.fromCodePoint(low + i))),
  );
  return anyOf(ascii.length === 0 ? named : [`[${rangesText(ascii)}]`, ...named]);
}

function rangesText(ranges: CodeRanges): string {
  const parts = ranges.map(([low, high]) =>
    low === high ? escaped(low) : `${escaped(low)}-${escaped(high)}`,
  );
  return parts.join("");
}

/** Sorted and without overlaps. */
export function normalized(ranges: CodeRanges): CodeRanges {
  const merged: [number, number][] = [];
  for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last !== undefined && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else merged.push([low, high]);
  }
  return merged;
}

export function complement(ranges: CodeRanges): CodeRanges {
  const gaps: [number, number][] = [];
  let next = 0;
  for (const [low, high] of normalized([...ranges, SURROGATES])) {
    if (low > next) gaps.push([next, low - 1]);
    next = high + 1;
  }
  if (next <= LAST_CODE_POINT) gaps.push([next, LAST_CODE_POINT]);
  return gaps;
}

export function intersection(a: CodeRanges, b: CodeRanges): CodeRanges {
  return complement([...complement(a), ...complement(b)]);
}

export function includes(ranges: CodeRanges, code: number): boolean {
  return ranges.some(([low, high]) => low <= code && code <= high);
}

function escaped(code: number): string {
  const char = String.fromCodePoint(code);
  if (/^[A-Za-z0-9 _:,.{}<>/]$/.test(char)) return char;
  if (code <= 0xffff) return `\\u${code.toString(16).padStart(4, "0")}`;
  return `\\U${code.toString(16).padStart(8, "0")}`;
}
