import type { IncrementalDecoder, Tokenizer } from "./text.js";

/**
 * Ids to text, one at a time in constant time each. Most tokens are whole characters, whose text is known; the
 * bytes of the others, and of one that follows them, go through a streaming UTF-8 decoder, which keeps those of
 * an incomplete character. Special tokens have no text.
 */
export class TokenStreamDecoder implements IncrementalDecoder {
  private readonly tokenizer: Tokenizer;
  private readonly skipSpecialTokens: boolean;
  private readonly utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  private keepsBytes = false; // the decoder may

  constructor(tokenizer: Tokenizer, skipSpecialTokens = true) {
    this.tokenizer = tokenizer;
    this.skipSpecialTokens = skipSpecialTokens;
  }

  push(id: number): string {
    if (this.skipSpecialTokens && this.tokenizer.isSpecial(id)) return "";
    const text = this.tokenizer.tokenText(id);
    if (text === "" || (text !== null && !this.keepsBytes)) return text;
    this.keepsBytes = text === null;
    return this.utf8.decode(this.tokenizer.tokenBytes(id), { stream: true });
  }

  flush(): string {
    return this.utf8.decode();
  }
}

/** For a model without a tokenizer: its text is empty. */
export const noText: IncrementalDecoder = { push: () => "", flush: () => "" };
