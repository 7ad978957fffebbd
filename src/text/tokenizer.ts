import { Tokenizer as NativeTokenizer } from "tokenizers";
import { ModelError } from "../models/model-error.js";
import { TokenStreamDecoder } from "./detokenizer.js";
import type { Tokenizer } from "./text.js";
import { TokenBytes } from "./token-bytes.js";
import { spellingOf, type TokenizerJson } from "./tokenizer-json.js";

/** Hugging Face's tokenizers does the encoding; decoding is by the tokens' own bytes. */
export class HuggingFaceTokenizer implements Tokenizer {
  private readonly native: NativeTokenizer;
  private readonly bytes: TokenBytes;
  private readonly special: ReadonlySet<number>;
  private readonly spacePrefix: boolean;

  /** Throws ModelError, whose message names what of `json` cannot be used. */
  constructor(json: TokenizerJson) {
    try {
      this.native = NativeTokenizer.fromString(JSON.stringify(json));
    } catch (error) {
      throw new ModelError(`the tokenizer is not valid: ${(error as Error).message}`);
    }
    const spelling = spellingOf(json);
    this.spacePrefix = spelling.spacePrefix;
    this.bytes = new TokenBytes(json, spelling);
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
    const encoding = await this.native.encode(text, null, { addSpecialTokens });
    return encoding.getIds();
  }

  decode(ids: readonly number[], options: { readonly skipSpecialTokens?: boolean } = {}): string {
    const decoder = new TokenStreamDecoder(this, options.skipSpecialTokens ?? true);
    const text = ids.map((id) => decoder.push(id)).join("") + decoder.flush();
    return this.spacePrefix && text.startsWith(" ") ? text.slice(1) : text;
  }

  tokenBytes(id: number): Uint8Array {
    return this.bytes.of(id);
  }

  isSpecial(id: number): boolean {
    return this.special.has(id);
  }
}
