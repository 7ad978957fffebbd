import type { ToolFormat } from "./tool-format.js";

/** What the API needs of text handling; src/text/* implements it. */

export interface DecodeOptions {
  readonly skipSpecialTokens?: boolean;
}

export interface Tokenizer {
  readonly vocabSize: number;
  /** Bytes of text that one token can stand for; Infinity where texts may shrink by any amount. */
  readonly maxBytesPerToken: number;
  /**
   * Ids of `text`; special tokens written in the text are recognised. Adds none but as asked. Runs on
   * another thread: a long prompt must not hold the event loop. Rejects with ApiError("overloaded")
   * when too much is being tokenized already.
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): Promise<number[]>;
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** The same in steps, for what may be long. */
  decoding(ids: readonly number[], options?: DecodeOptions): Generator<void, string>;
  /** The exact bytes of one token ("Ġthe" -> " the"), also where they are part of a character. */
  tokenBytes(id: number): Uint8Array;
  /** Their text; null where they are no whole characters. */
  tokenText(id: number): string | null;
  isSpecial(id: number): boolean;
}

/** Turns a stream of ids into text that never splits a character. */
export interface IncrementalDecoder {
  /** Text that is now certain, "" while a character is incomplete. */
  push(id: number): string;
  /** What is left at the end; incomplete bytes as U+FFFD. */
  flush(): string;
}

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly name?: string;
  readonly tool_calls?: unknown;
  readonly tool_call_id?: string;
}

export interface ChatTemplate {
  /** How it writes calls; null: it cannot list tools. */
  readonly toolFormat: ToolFormat | null;
  /** Rejects with ApiError("invalid_messages") when the template refuses the conversation. */
  render(messages: readonly ChatMessage[], options: RenderOptions): Promise<string>;
}

export interface RenderOptions {
  readonly addGenerationPrompt: boolean;
  readonly tools?: readonly unknown[];
}
