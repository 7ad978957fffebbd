/**
 * JSON.parse in steps, for bodies that would hold the event loop: the same values and the same refusals, but
 * for what is deeper or has more members than any request needs, and numbers of more digits.
 */

/** Bytes that are read between two places where the work may pause. */
const BYTES_PER_STEP = 8 << 10;
/** Of a list: larger ones grow by copies that take milliseconds. */
export const MOST_ITEMS = 1 << 18;
/** Texts (names included), lists and objects together: what the garbage collector has to move one by one. */
export const MOST_VALUES = 1 << 16;
export const MOST_LEVELS = 1 << 10;
const LONGEST_NUMBER = 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const LETTER_U = 0x75;
const COMMA = 0x2c;
const COLON = 0x3a;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const HEX4 = /^[\da-fA-F]{4}$/;
const LITERALS = [
  ["true", true],
  ["false", false],
  ["null", null],
] as const;

// A piece of a text may begin with what would be a mark at the beginning of a whole one.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

type Json = string | number | boolean | null | object;

/** A list or an object that is not closed yet. */
type Open =
  | { readonly items: Json[]; readonly members: null }
  | { readonly items: null; readonly members: Record<string, Json>; key: string };

/** What may come next, blanks apart. */
type Wanted = "value" | "item or ]" | "key" | "key or }" | ":" | ", or end" | "nothing";

/** Throws SyntaxError, TypeError where the bytes are no UTF-8, and TooManyError. */
export function* readJson(bytes: Buffer): Generator<void, Json> {
  const reader = new Reader(bytes);
  while (!reader.step()) yield;
  return reader.value;
}

class Reader {
  value: Json = null;
  readonly #bytes: Buffer;
  readonly #open: Open[] = [];
  #at: number;
  #values = 0;
  #wanted: Wanted = "value";
  /** What was read of a text that is longer than a step. */
  #text: string | null = null;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#at = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  }

  /** Reads on for a step; true at the end. */
  step(): boolean {
    const bytes = this.#bytes;
    const end = Math.min(this.#at + BYTES_PER_STEP, bytes.length);
    if (this.#text !== null) this.#readText(this.#text);
    while (this.#at < end) {
      const byte = bytes[this.#at]!;
      if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) this.#at += 1;
      else if (byte === QUOTE) this.#beginText();
      else this.#readOther(byte);
    }
    if (this.#at < bytes.length || this.#text !== null) return false;
    if (this.#wanted !== "nothing") throw this.#fault();
    return true;
  }

  #beginText(): void {
    const wanted = this.#wanted;
    if (wanted === ":" || wanted === ", or end" || wanted === "nothing") throw this.#fault();
    this.#at += 1;
    this.#readText("");
  }

  /** Long ones in pieces, cut where neither a character nor an escape is cut. */
  #readText(before: string): void {
    const bytes = this.#bytes;
    const from = this.#at;
    const most = from + BYTES_PER_STEP;
    let at = from;
    let escaped = false;
    let byte = bytes[at];
    // A character has at most three bytes that continue it; more of them are none.
    while (byte !== QUOTE && (at < most || (at < most + 3 && (byte! & 0xc0) === 0x80))) {
      if (byte === undefined || byte < 0x20) throw this.#fault();
      if (byte === BACKSLASH) {
        escaped = true;
        at += escapeLength(bytes, at);
      }
      byte = bytes[++at];
    }
    const piece = utf8.decode(bytes.subarray(from, at));
    const text = before + (escaped ? (JSON.parse(`"${piece}"`) as string) : piece);
    if (byte === QUOTE) {
      this.#at = at + 1;
      this.#text = null;
      this.#take(text);
    } else {
      this.#at = at;
      this.#text = text;
    }
  }

  #take(text: string): void {
    this.#count();
    const wanted = this.#wanted;
    if (wanted !== "key" && wanted !== "key or }") {
      this.#add(text);
      return;
    }
    const top = this.#open.at(-1);
    if (top === undefined || top.items !== null) throw this.#fault();
    top.key = text;
    this.#wanted = ":";
  }

  /** All but texts and blanks. */
  #readOther(byte: number): void {
    const wanted = this.#wanted;
    if (wanted === "value" || wanted === "item or ]") {
      if (byte === 0x5d && wanted === "item or ]") this.#close();
      else if (byte === 0x5b) this.#begin({ items: [], members: null }, "item or ]");
      else if (byte === 0x7b) this.#begin({ items: null, members: {}, key: "" }, "key or }");
      else this.#add(this.#scalar());
      return;
    }
    if (wanted === ":" && byte === COLON) {
      this.#at += 1;
      this.#wanted = "value";
      return;
    }
    if (wanted === "key or }" && byte === 0x7d) this.#close();
    else if (wanted === ", or end") this.#afterMember(byte);
    else throw this.#fault();
  }

  #afterMember(byte: number): void {
    const list = this.#open.at(-1)!.items !== null;
    if (byte === COMMA) {
      this.#at += 1;
      this.#wanted = list ? "value" : "key";
      return;
    }
    if (byte !== (list ? 0x5d : 0x7d)) throw this.#fault();
    this.#close();
  }

  #count(): void {
    if (++this.#values > MOST_VALUES)
      throw new TooManyError("texts, lists and objects", MOST_VALUES);
  }

  #begin(open: Open, wanted: Wanted): void {
    this.#count();
    if (this.#open.push(open) > MOST_LEVELS) throw new TooManyError("levels", MOST_LEVELS);
    this.#at += 1;
    this.#wanted = wanted;
  }

  #close(): void {
    const { items, members } = this.#open.pop()!;
    this.#at += 1;
    this.#add(items ?? members);
  }

  /** To the innermost that is open. */
  #add(value: Json): void {
    const top = this.#open.at(-1);
    if (top === undefined) {
      this.value = value;
      this.#wanted = "nothing";
      return;
    }
    this.#wanted = ", or end";
    if (top.items !== null) {
      if (top.items.push(value) > MOST_ITEMS) throw new TooManyError("items of a list", MOST_ITEMS);
      return;
    }
    if (top.key !== "__proto__") top.members[top.key] = value;
    else Object.defineProperty(top.members, top.key, { ...OWN, value });
  }

  #scalar(): number | boolean | null {
    for (const [word, value] of LITERALS) {
      if (this.#bytes[this.#at] !== word.charCodeAt(0)) continue;
      const end = this.#at + word.length;
      if (this.#bytes.toString("latin1", this.#at, end) !== word) throw this.#fault();
      this.#at = end;
      return value;
    }
    return this.#number();
  }

  #number(): number {
    const bytes = this.#bytes;
    const from = this.#at;
    // Token ids are what long lists hold: whole numbers of few digits.
    let at = from;
    let whole = 0;
    let byte = bytes[at];
    while (byte !== undefined && byte >= 0x30 && byte <= 0x39 && at - from < 15) {
      whole = 10 * whole + byte - 0x30;
      byte = bytes[++at];
    }
    if (at > from && !isNumeric(byte) && (bytes[from] !== 0x30 || at === from + 1)) {
      this.#at = at;
      return whole;
    }
    while (isNumeric(bytes[at]) && at - from <= LONGEST_NUMBER) at += 1;
    const text = bytes.toString("latin1", from, at);
    if (!NUMBER.test(text) || text.length > LONGEST_NUMBER) throw this.#fault();
    this.#at = at;
    return Number(text);
  }

  #fault(): SyntaxError {
    return new SyntaxError(`no valid JSON at byte ${this.#at}`);
  }
}

/** Of what follows the backslash; none where it is no escape, which JSON.parse then refuses: it may not skip a part of a character. */
function escapeLength(bytes: Buffer, at: number): number {
  if (bytes[at + 1] !== LETTER_U) return bytes[at + 1]! < 0x80 ? 1 : 0;
  return HEX4.test(bytes.toString("latin1", at + 2, at + 6)) ? 5 : 1;
}

const OWN = { configurable: true, enumerable: true, writable: true } as const;

function isNumeric(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  if (byte >= 0x30 && byte <= 0x39) return true;
  return byte === 0x2b || byte === 0x2d || byte === 0x2e || byte === 0x45 || byte === 0x65; // + - . E e
}

/** More than is read; `message` is for the client. */
export class TooManyError extends Error {
  constructor(what: string, most: number) {
    super(`The body has more than ${most} ${what}.`);
  }
}
