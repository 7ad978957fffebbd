import { LazyList, lazyList } from "../json/write.js";
import type { TokenLogprob } from "../scheduler/request.js";
import type { Tokenizer } from "../text/text.js";
import type { TokenPiece } from "./choice.js";

/** OpenAI's two shapes of log-probabilities. */

export interface ChatLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[] | null;
}

export interface ChatLogprobs {
  readonly content: readonly (ChatLogprob & { readonly top_logprobs: readonly ChatLogprob[] })[];
  readonly refusal: null;
}

/** JSON has no -Infinity; this is what OpenAI sends in its place. */
const LOWEST = -9999;

function finite(logprob: number): number {
  return Math.max(logprob, LOWEST);
}

/** How logprobs name tokens. A token that is no whole text is named by its bytes, as OpenAI does. */
export class TokenNames {
  readonly #tokenizer: Tokenizer | null;
  readonly #asIds: boolean;
  /** Of those asked for so far; one endpoint uses one prefix. */
  readonly #quoted = new Map<number, string>();

  constructor(tokenizer: Tokenizer | null, asIds: boolean) {
    this.#tokenizer = tokenizer;
    this.#asIds = asIds;
  }

  name(id: number, bytesPrefix: string): string {
    if (this.#asIds || this.#tokenizer === null) return `token_id:${id}`;
    const text = this.#tokenizer.tokenText(id);
    if (text !== null) return text;
    const bytes = Array.from(this.#tokenizer.tokenBytes(id));
    const hex = bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`);
    return bytesPrefix + hex.join("");
  }

  /** The name as a JSON string. */
  quoted(id: number, bytesPrefix: string): string {
    let quoted = this.#quoted.get(id);
    if (quoted === undefined) {
      quoted = JSON.stringify(this.name(id, bytesPrefix));
      this.#quoted.set(id, quoted);
    }
    return quoted;
  }

  bytes(id: number): number[] | null {
    return this.#tokenizer === null ? null : [...this.#tokenizer.tokenBytes(id)];
  }
}

export function chatLogprobs(pieces: readonly TokenPiece[], names: TokenNames): ChatLogprobs {
  const content = pieces.flatMap((piece) => chatLogprob(piece, names) ?? []);
  return { content, refusal: null };
}

/** The same of a whole answer, which may have thousands of tokens, each with 20 alternatives. */
export function lazyChatLogprobs(pieces: readonly TokenPiece[], names: TokenNames) {
  const known = pieces.filter(({ logprob }) => logprob !== null);
  return { content: lazyList(known, (piece) => chatLogprob(piece, names)), refusal: null };
}

function chatLogprob({ logprob }: TokenPiece, names: TokenNames) {
  if (logprob === null) return null;
  const entry = (id: number, value: number): ChatLogprob => ({
    token: names.name(id, ""),
    logprob: finite(value),
    bytes: names.bytes(id),
  });
  const top_logprobs = logprob.top.map((other) => entry(other.token, other.logprob));
  return { ...entry(logprob.token, logprob.logprob), top_logprobs };
}

/** Those of a completion, to be written by src/json: an echoed prompt may have thousands of tokens. */
export function completionLogprobs(pieces: readonly TokenPiece[], names: TokenNames) {
  const list = (json: (piece: TokenPiece) => string) =>
    new LazyList(pieces.length, (i) => json(pieces[i]!));
  return {
    text_offset: pieces.map(({ offset }) => offset),
    token_logprobs: list(({ logprob }) => (logprob ? String(finite(logprob.logprob)) : "null")),
    tokens: list(({ id }) => names.quoted(id, "bytes:")),
    top_logprobs: list(({ logprob }) => (logprob ? topByName(logprob, names) : "null")),
  };
}

/** The most likely tokens, and the chosen one where it is not among them. */
function topByName(logprob: TokenLogprob, names: TokenNames): string {
  const byName = new Map<string, number>();
  for (const { token, logprob: value } of logprob.top) {
    byName.set(names.quoted(token, "bytes:"), finite(value));
  }
  byName.set(names.quoted(logprob.token, "bytes:"), finite(logprob.logprob));
  return `{${Array.from(byName, ([name, value]) => `${name}:${value}`).join()}}`;
}
