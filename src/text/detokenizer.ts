import type { IncrementalDecoder, Tokenizer } from "./text.js";

/**
 * Ids to text, one at a time in constant time each: the tokens' bytes go through a streaming UTF-8
 * decoder, which keeps the bytes of an incomplete character. Special tokens have no text.
 */
export class TokenStreamDecoder implements IncrementalDecoder {
  private readonly tokenizer: Tokenizer;
  private readonly skipSpecialTokens: boolean;
  private readonly utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(tokenizer: Tokenizer, skipSpecialTokens = true) {
    this.tokenizer = tokenizer;
    this.skipSpecialTokens = skipSpecialTokens;
  }

  push(id: number): string {
    if (this.skipSpecialTokens && this.tokenizer.isSpecial(id)) return "";
    return this.utf8.decode(this.tokenizer.tokenBytes(id), { stream: true });
  }

  flush(): string {
    return this.utf8.decode();
  }
}

/** For a model without a tokenizer: its text is empty. */
export const noText: IncrementalDecoder = { push: () => "", flush: () => "" };
