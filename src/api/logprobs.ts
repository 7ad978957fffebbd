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

export interface CompletionLogprobs {
  readonly text_offset: readonly number[];
  readonly token_logprobs: readonly (number | null)[];
  readonly tokens: readonly string[];
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
}

/** JSON has no -Infinity; this is what OpenAI sends in its place. */
const LOWEST = -9999;

function finite(logprob: number): number {
  return Math.max(logprob, LOWEST);
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** How logprobs name tokens. A token that is no whole text is named by its bytes, as OpenAI does. */
export class TokenNames {
  readonly #tokenizer: Tokenizer | null;
  readonly #asIds: boolean;

  constructor(tokenizer: Tokenizer | null, asIds: boolean) {
    this.#tokenizer = tokenizer;
    this.#asIds = asIds;
  }

  name(id: number, bytesPrefix: string): string {
    if (this.#asIds || this.#tokenizer === null) return `token_id:${id}`;
    const bytes = this.#tokenizer.tokenBytes(id);
    try {
      return utf8.decode(bytes);
    } catch {
      const hex = Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`);
      return bytesPrefix + hex.join("");
    }
  }

  bytes(id: number): number[] | null {
    return this.#tokenizer === null ? null : [...this.#tokenizer.tokenBytes(id)];
  }
}

export function chatLogprobs(pieces: readonly TokenPiece[], names: TokenNames): ChatLogprobs {
  const entry = (id: number, logprob: number): ChatLogprob => ({
    token: names.name(id, ""),
    logprob: finite(logprob),
    bytes: names.bytes(id),
  });
  const content = pieces.flatMap(({ logprob }) => {
    if (logprob === null) return [];
    const top = logprob.top.map((other) => entry(other.token, other.logprob));
    return [{ ...entry(logprob.token, logprob.logprob), top_logprobs: top }];
  });
  return { content, refusal: null };
}

export function completionLogprobs(
  pieces: readonly TokenPiece[],
  names: TokenNames,
): CompletionLogprobs {
  return {
    text_offset: pieces.map(({ offset }) => offset),
    token_logprobs: pieces.map(({ logprob }) => logprob && finite(logprob.logprob)),
    tokens: pieces.map(({ id }) => names.name(id, "bytes:")),
    top_logprobs: pieces.map(({ logprob }) => logprob && topByName(logprob, names)),
  };
}

/** The most likely tokens, and the chosen one where it is not among them. */
function topByName(logprob: TokenLogprob, names: TokenNames): Record<string, number> {
  const entries = [...logprob.top, logprob].map(
    ({ token, logprob }) => [names.name(token, "bytes:"), finite(logprob)] as const,
  );
  return Object.fromEntries(entries);
}
