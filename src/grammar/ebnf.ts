/** Pieces of the grammar dialect that the matcher reads: literals, character classes, rules. */

const MAX_RULES = 5_000;

/** The grammar that is being written; bodies are EBNF expressions. */
export class GrammarWriter {
  readonly #bodies = new Map<string, string>();

  has(name: string): boolean {
    return this.#bodies.has(name);
  }

  /** Defines a rule of this name once; `body` is asked for the first time only. Returns the name. */
  shared(name: string, body: () => string): string {
    if (this.#bodies.has(name)) return name;
    this.#refuseMore();
    this.#bodies.set(name, ""); // a recursive rule meets its own name
    this.#bodies.set(name, body());
    return name;
  }

  /** Defines a rule under a name of its own. */
  rule(body: string): string {
    this.#refuseMore();
    const name = `r${this.#bodies.size}`;
    this.#bodies.set(name, body);
    return name;
  }

  #refuseMore(): void {
    if (this.#bodies.size >= MAX_RULES) throw new RangeError("the grammar has too many rules");
  }

  /** The whole grammar, which starts at `root`. */
  text(root: string): string {
    const rules = [...this.#bodies].map(([name, body]) => `${name} ::= ${body}`);
    return [`root ::= ${root}`, ...rules].join("\n");
  }
}

export function literal(text: string): string {
  return text === ""
    ? `""`
    : `"${[...text].map((char) => escaped(char.codePointAt(0)!)).join("")}"`;
}

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
