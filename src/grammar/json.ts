import {
  anyOf,
  type CodeRanges,
  characterClass,
  complement,
  type GrammarWriter,
  includes,
  intersection,
  literal,
  repeated,
} from "./ebnf.js";

/** JSON values as grammars: the pieces that schemas and tool calls are made of. */

/** After a comma or colon there may be one space. No other whitespace: models lose themselves in it. */
export const SPACE = `" "?`;
export const COMMA = `"," ${SPACE}`;
export const COLON = `":" ${SPACE}`;

const QUOTE = `"\\u0022"`;
const BACKSLASH = `"\\u005c"`;

/** Code points that stand for themselves in a JSON string. */
const PLAIN: CodeRanges = complement([
  [0x00, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
  [0x7f, 0x7f],
]);
/** Code points that have a short escape, and its letter. */
const SHORT_ESCAPES: readonly (readonly [number, string])[] = [
  [0x08, "b"],
  [0x09, "t"],
  [0x0a, "n"],
  [0x0c, "f"],
  [0x0d, "r"],
  [0x22, '"'],
  [0x5c, "\\"],
];

/**
 * One of several code points, as it is written in a JSON string; null: it cannot be written. Where some
 * need no escape, only those: masks of "class or escape" in a loop take milliseconds, of a class microseconds.
 */
export function jsonCharacter(ranges: CodeRanges): string | null {
  const plain = intersection(ranges, PLAIN);
  if (plain.length > 0) return characterClass(plain);
  const letters = SHORT_ESCAPES.filter(([code]) => includes(ranges, code));
  if (letters.length === 0) return null;
  return `(${BACKSLASH} ${anyOf(letters.map(([, letter]) => literal(letter)))})`;
}

export function quoted(body: string): string {
  return `${QUOTE} ${body} ${QUOTE}`;
}

const HEX = "[0-9a-fA-F]";
/** \\u escapes spell no halves of pairs: each is one character. */
const ESCAPE = `${BACKSLASH} ([bfnrt] | ${QUOTE} | ${BACKSLASH} | "/" | "u" ([0-9a-ce-fA-CE-F] ${HEX} | [dD] [0-7]) ${HEX} ${HEX})`;
/** What follows a string: lets the matcher settle tokens that reach over its end beforehand. */
const FOLLOWING = "(=[,}\\]:])";

const PLAIN_CLASS = characterClass(PLAIN);

/** A character of a string, and what follows it. */
function character(next: string): string {
  return `${PLAIN_CLASS} ${next} | ${ESCAPE} ${next}`;
}

/** The rest of a string of any length. */
function freeCharacters(writer: GrammarWriter): string {
  return writer.shared("chars", () => `(${QUOTE} | ${character("chars")}) ${FOLLOWING}`);
}

export function jsonString(writer: GrammarWriter): string {
  return writer.shared("string", () => `${QUOTE} ${freeCharacters(writer)}`);
}

/**
 * A string of so many characters. Right recursion: its masks are made when the grammar is compiled. That
 * is what compiling takes its time for, so what is left of one string is the same rule in all others.
 */
export function* jsonStringOf(
  writer: GrammarWriter,
  min: number,
  max: number,
): Generator<void, string> {
  if (min === 0 && max === Infinity) return jsonString(writer);
  let rest = max === Infinity ? freeCharacters(writer) : writer.shared("chars0to0", () => QUOTE);
  for (let length = max === Infinity ? min - 1 : max - 1; length >= 0; length--) {
    const [least, most] = [Math.max(min - length, 0), max - length];
    const next = rest;
    const mayEnd = least === 0 ? `${QUOTE} | ` : "";
    rest = writer.shared(
      `chars${least}to${most}`,
      () => `(${mayEnd}${character(next)}) ${FOLLOWING}`,
    );
    yield;
  }
  return `${QUOTE} ${rest}`;
}

const MOST_DIGITS = 15; // what a double holds exactly
export const LARGEST_INTEGER = 10 ** MOST_DIGITS - 1;
const FRACTION = `"." [0-9]{1,${MOST_DIGITS}}`;

/** An integer of at most 15 digits. */
export function jsonInteger(writer: GrammarWriter): string {
  return writer.shared("integer", () => `"0" | "-"? [1-9] [0-9]{0,${MOST_DIGITS - 1}}`);
}

export function jsonNumber(writer: GrammarWriter): string {
  return writer.shared("number", () => {
    const integer = `("0" | [1-9] [0-9]{0,${MOST_DIGITS - 1}})`;
    return `"-"? ${integer} (${FRACTION})? ([eE] [+\\-]? [0-9]{1,2})?`;
  });
}

/** An integer from `min` to `max`. */
export function jsonIntegerRange(min: number, max: number): string {
  const ways: string[] = [];
  if (min < 0) ways.push(`"-" ${digitRange(Math.max(1, -max), -min)}`);
  if (max >= 0) ways.push(digitRange(Math.max(0, min), max));
  return anyOf(ways);
}

/** A number from `min` to `max`, which are integers; without exponent. */
export function jsonNumberRange(min: number, max: number): string {
  const ways: string[] = [];
  if (min < 0) ways.push(`"-" ${decimalRange(Math.max(0, -max), -min)}`);
  if (max >= 0) ways.push(decimalRange(Math.max(0, min), max));
  return anyOf(ways);
}

function decimalRange(min: number, max: number): string {
  const last = `${literal(String(max))} ("." "0"{1,${MOST_DIGITS}})?`;
  if (min === max) return last;
  return anyOf([`${digitRange(min, max - 1)} (${FRACTION})?`, last]);
}

/** Decimal notations of the integers from `min` to `max`, both >= 0. */
function digitRange(min: number, max: number): string {
  const ways: string[] = [];
  for (let low = min; low <= max; ) {
    const high = Math.min(max, 10 ** String(low).length - 1);
    ways.push(sameLength(String(low), String(high)));
    low = high + 1;
  }
  return anyOf(ways);
}

function sameLength(low: string, high: string): string {
  if (low === "") return "";
  const [first, last] = [Number(low[0]), Number(high[0])];
  const rest = low.length - 1;
  const anyRest = rest === 0 ? "" : ` [0-9]{${rest}}`;
  if (first === last) return `"${first}" ${sameLength(low.slice(1), high.slice(1))}`;
  const fullBelow = /^0*$/.test(low.slice(1));
  const fullAbove = /^9*$/.test(high.slice(1));
  const ways: string[] = [];
  if (!fullBelow) ways.push(`"${first}" ${sameLength(low.slice(1), "9".repeat(rest))}`);
  const [from, to] = [fullBelow ? first : first + 1, fullAbove ? last : last - 1];
  if (from <= to) ways.push(`[${from}-${to}]${anyRest}`);
  if (!fullAbove) ways.push(`"${last}" ${sameLength("0".repeat(rest), high.slice(1))}`);
  return anyOf(ways);
}

/** `[` items `]`, from `min` to `max` of them. */
export function jsonArray(item: string, min: number, max: number): string {
  return `"[" ${listed(item, min, max)} "]"`;
}

/** Items with commas between them. */
export function listed(item: string, min: number, max: number): string {
  if (max === 0) return `""`;
  const more = repeated(`${COMMA} ${item}`, Math.max(min - 1, 0), max - 1);
  const some = `${item} ${more}`;
  return min === 0 ? `(${some})?` : some;
}

/** An object of any keys; `value` is the grammar of their values. */
export function jsonMap(writer: GrammarWriter, value: string, min: number, max: number): string {
  return `"{" ${listed(`${jsonString(writer)} ${COLON} ${value}`, min, max)} "}"`;
}

export function jsonObject(writer: GrammarWriter): string {
  return writer.shared("object", () => jsonMap(writer, jsonValue(writer), 0, Infinity));
}

export function jsonValue(writer: GrammarWriter): string {
  return writer.shared("value", () => {
    const array = writer.shared("array", () => jsonArray("value", 0, Infinity));
    const scalars = [jsonString(writer), jsonNumber(writer), `"true"`, `"false"`, `"null"`];
    return anyOf([jsonObject(writer), array, ...scalars]);
  });
}

export interface Property {
  readonly name: string;
  readonly value: string;
  readonly required: boolean;
}

/** An object of these properties in this order; those that are not required may be left out. */
export function* jsonProperties(
  writer: GrammarWriter,
  properties: readonly Property[],
): Generator<void, string> {
  let first = `""`; // properties i and on, when none came before them
  let later = `""`; // the same, after others
  for (const { name, value, required } of properties.toReversed()) {
    const pair = `${literal(JSON.stringify(name))} ${COLON} ${value}`;
    const next = later === `""` ? "" : ` ${later}`;
    const nextFirst = `${pair}${next}`;
    first = writer.rule(required ? nextFirst : `${nextFirst} | ${first}`);
    later = writer.rule(required ? `${COMMA} ${pair}${next}` : `(${COMMA} ${pair})?${next}`);
    yield;
  }
  return `"{" ${first} "}"`;
}
