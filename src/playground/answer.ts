import type { ChatChunk, ChatUsage } from "../client/chat.js";
import { Routing, type RoutingFields } from "./routing.js";

/** One answer as it comes: its pieces of text, its tokens' routing and its speed. */

/** Text that stands for one token, or for the few that make up one character. */
export interface Piece {
  readonly text: string;
  /** The first token and the one after the last. */
  readonly from: number;
  readonly to: number;
}

export interface Speed {
  readonly firstTokenMs: number;
  readonly tokensPerSecond: number | null; // null before the second token
  readonly tokens: number;
}

export type AnswerState = "waiting" | "streaming" | "done" | "stopped" | "failed";

export class Answer {
  readonly model: string;
  /** Whom the server chose, where that was left to it, and how near the nearest example was. */
  chosen: { readonly model: string; readonly score: number } | null = null;
  readonly routing = new Routing();
  state: AnswerState = "waiting";
  /** What the server said where it failed. */
  error: string | null = null;
  finishReason: string | null = null;
  usage: ChatUsage | null = null;
  readonly #pieces: Piece[] = [];
  readonly #asked: number;
  #first: number | null = null;
  #last = 0;
  #tokens = 0;
  #shown = 0;

  /** `now` in milliseconds, here and below. */
  constructor(model: string, now: number) {
    this.model = model;
    this.#asked = now;
  }

  get pieces(): readonly Piece[] {
    return this.#pieces;
  }

  get text(): string {
    return this.#pieces.map(({ text }) => text).join("");
  }

  /** Null before the first token. */
  get speed(): Speed | null {
    if (this.#first === null) return null;
    const seconds = (this.#last - this.#first) / 1000;
    return {
      firstTokenMs: this.#first - this.#asked,
      tokensPerSecond: seconds > 0 ? (this.#tokens - 1) / seconds : null,
      tokens: this.usage?.completion_tokens ?? this.#tokens,
    };
  }

  /** Returns the piece that the chunk adds, if it adds one. */
  add(chunk: ChatChunk, now: number): Piece | null {
    this.usage = chunk.usage ?? this.usage;
    const { model, auto } = chunk;
    if (model !== undefined && auto !== undefined) this.chosen = { model, score: auto.score };
    const choice = chunk.choices[0];
    if (choice === undefined) return null;
    this.finishReason = choice.finish_reason ?? this.finishReason;
    const routing = choice.routing as RoutingFields | undefined;
    if (routing !== undefined) this.routing.add(routing);
    const text = choice.delta.content;
    if (choice.finish_reason !== null || text === undefined || isOpening(choice.delta)) return null;
    this.state = "streaming";
    this.#first ??= now;
    this.#last = now;
    this.#tokens += routing?.tokens.length ?? 1;
    if (text === "") return null;
    const piece = { text, from: this.#shown, to: this.#tokens };
    this.#shown = this.#tokens;
    this.#pieces.push(piece);
    return piece;
  }

  /** The piece that shows a token; null for the one that ended the answer. */
  pieceOf(token: number): Piece | null {
    return this.#pieces.find(({ from, to }) => token >= from && token < to) ?? null;
  }
}

/** The chunk before the first token, which names the role alone. */
function isOpening(delta: object): boolean {
  return "role" in delta;
}
