import { isUtf8 } from "node:buffer";
import { SPACE_MARK, type TokenizerJson, type TokenSpelling } from "./tokenizer-json.js";

/** The bytes of every token, end to end, so that a large vocabulary costs two buffers. */
export class TokenBytes {
  private readonly bytes: Uint8Array;
  private readonly starts: Uint32Array; // one more than there are ids
  private readonly texts: (string | null | undefined)[]; // of those asked for so far

  constructor(json: TokenizerJson, spelling: TokenSpelling) {
    const spell = spelling.kind === "byteLevel" ? byteLevelBytes : sentencePieceBytes;
    const tokens: Uint8Array[] = [];
    for (const [token, id] of vocabulary(json)) tokens[id] = spell(token);
    for (const { id, content } of json.added_tokens ?? [])
      tokens[id] = Buffer.from(content, "utf8");
    this.starts = new Uint32Array(tokens.length + 1);
    for (let id = 0; id < tokens.length; id++) {
      this.starts[id + 1] = (this.starts[id] ?? 0) + (tokens[id]?.length ?? 0);
    }
    this.bytes = new Uint8Array(this.starts[tokens.length] ?? 0);
    tokens.forEach((token, id) => {
      this.bytes.set(token, this.starts[id]);
    });
    this.texts = new Array(tokens.length);
  }

  get size(): number {
    return this.starts.length - 1;
  }

  /** Bytes of the longest token. */
  get longest(): number {
    return this.starts.reduce((most, start, id) => {
      return id === 0 ? 0 : Math.max(most, start - (this.starts[id - 1] ?? 0));
    }, 0);
  }

  /** Empty for ids that are no token: models pad their vocabulary. */
  of(id: number): Uint8Array {
    const start = this.starts[id];
    const end = this.starts[id + 1];
    if (start === undefined || end === undefined) return EMPTY;
    return this.bytes.subarray(start, end);
  }

  /** Null where the bytes are no whole characters. */
  text(id: number): string | null {
    const known = this.texts[id];
    if (known !== undefined) return known;
    const bytes = this.of(id);
    const text = isUtf8(bytes) ? utf8.decode(bytes) : null;
    if (id < this.size) this.texts[id] = text;
    return text;
  }
}

const EMPTY = new Uint8Array(0);
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

function vocabulary(json: TokenizerJson): readonly (readonly [string, number])[] {
  const { vocab } = json.model;
  if (!Array.isArray(vocab)) return Object.entries(vocab as Readonly<Record<string, number>>);
  return (vocab as readonly (readonly [string, number])[]).map(([token], id) => [token, id]);
}

/** GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for U+0100 and up. */
const BYTE_OF_CHARACTER: ReadonlyMap<string, number> = (() => {
  const map = new Map<string, number>();
  let shifted = 0x100;
  for (let byte = 0; byte < 0x100; byte++) {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    map.set(String.fromCodePoint(printable ? byte : shifted++), byte);
  }
  return map;
})();

function byteLevelBytes(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of token) {
    const byte = BYTE_OF_CHARACTER.get(character);
    if (byte === undefined) return Buffer.from(token, "utf8"); // a token outside the alphabet
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

function sentencePieceBytes(token: string): Uint8Array {
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
  if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
  return Buffer.from(token.replaceAll(SPACE_MARK, " "), "utf8");
}
