import { Tokenizer as NativeTokenizer } from "tokenizers";
import { ApiError } from "../errors.js";
import { entered } from "../hold.js";
import { ModelError } from "../models/model-error.js";
import { TokenStreamDecoder } from "./detokenizer.js";
import { shrinkage } from "./shrinkage.js";
import type { DecodeOptions, Tokenizer } from "./text.js";
import { TokenBytes } from "./token-bytes.js";
import { spellingOf, type TokenizerJson } from "./tokenizer-json.js";

/** Texts that are tokenized at the same time take about fifty times their size in memory. */
const BYTES_AT_ONCE = 16 << 20;

/** Ids that are decoded between two places where the work may pause. */
const IDS_PER_STEP = 256;

/** Hugging Face's tokenizers does the encoding; decoding is by the tokens' own bytes. */
export class HuggingFaceTokenizer implements Tokenizer {
  private readonly native: NativeTokenizer;
  private readonly bytes: TokenBytes;
  private readonly special: ReadonlySet<number>;
  private readonly spacePrefix: boolean;
  private readonly bytesAtOnce: number;
  private bytesNow = 0;
  readonly maxBytesPerToken: number;

  /** Throws ModelError, whose message names what of `json` cannot be used. */
  constructor(json: TokenizerJson, bytesAtOnce = BYTES_AT_ONCE) {
    this.bytesAtOnce = bytesAtOnce;
    try {
      this.native = NativeTokenizer.fromString(JSON.stringify(json));
    } catch (error) {
      throw new ModelError(`the tokenizer is not valid: ${(error as Error).message}`);
    }
    const spelling = spellingOf(json);
    this.spacePrefix = spelling.spacePrefix;
    this.bytes = new TokenBytes(json, spelling);
    this.maxBytesPerToken = this.bytes.longest * shrinkage(json);
    const special = (json.added_tokens ?? []).filter((token) => token.special);
    this.special = new Set(special.map((token) => token.id));
    this.native.disableTruncation();
    this.native.disablePadding();
  }

  get vocabSize(): number {
    return this.bytes.size;
  }

  async encode(text: string, options: { readonly addSpecialTokens?: boolean } = {}) {
    const addSpecialTokens = options.addSpecialTokens ?? false;
    const bytes = Buffer.byteLength(text);
    if (this.bytesNow > 0 && this.bytesNow + bytes > this.bytesAtOnce) {
      const message = `Texts of ${this.bytesNow} bytes are being tokenized; try again later.`;
      throw new ApiError("overloaded", { message });
    }
    this.bytesNow += bytes;
    try {
      const encoding = await this.native.encode(text, null, { addSpecialTokens });
      entered("text");
      return encoding.getIds();
    } finally {
      this.bytesNow -= bytes;
    }
  }

  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    const work = this.decoding(ids, options);
    let step = work.next();
    while (step.done !== true) step = work.next();
    return step.value;
  }

  *decoding(ids: readonly number[], options: DecodeOptions = {}): Generator<void, string> {
    const decoder = new TokenStreamDecoder(this, options.skipSpecialTokens ?? true);
    const texts: string[] = [];
    for (let i = 0; i < ids.length; i += IDS_PER_STEP) {
      const pieces = ids.slice(i, i + IDS_PER_STEP).map((id) => decoder.push(id));
      texts.push(pieces.join("")); // a sum of pieces would be put together by the last step alone
      yield;
    }
    const text = texts.join("") + decoder.flush();
    return this.spacePrefix && text.startsWith(" ") ? text.slice(1) : text;
  }

  tokenBytes(id: number): Uint8Array {
    return this.bytes.of(id);
  }

  tokenText(id: number): string | null {
    return this.bytes.text(id);
  }

  isSpecial(id: number): boolean {
    return this.special.has(id);
  }
}
