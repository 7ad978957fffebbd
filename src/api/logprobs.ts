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

const utf8 = new TextDecoder("utf-8", { fatal: true });

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
    const bytes = this.#tokenizer.tokenBytes(id);
    try {
      return utf8.decode(bytes);
    } catch {
      const hex = Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`);
      return bytesPrefix + hex.join("");
    }
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

/**
 * The log-probabilities of a completion as JSON text, a few tokens at a time: an echoed prompt may
 * have thousands, each with 20 alternatives.
 */
export class CompletionLogprobs {
  readonly #names: TokenNames;
  readonly #offsets: number[] = [];
  readonly #logprobs: (number | null)[] = [];
  readonly #tokens: string[] = [];
  readonly #top: string[] = [];

  constructor(names: TokenNames) {
    this.#names = names;
  }

  add(pieces: readonly TokenPiece[]): this {
    for (const { id, offset, logprob } of pieces) {
      this.#offsets.push(offset);
      this.#logprobs.push(logprob && finite(logprob.logprob));
      this.#tokens.push(this.#names.quoted(id, "bytes:"));
      this.#top.push(logprob === null ? "null" : topByName(logprob, this.#names));
    }
    return this;
  }

  json(): string {
    const [offsets, logprobs] = [JSON.stringify(this.#offsets), JSON.stringify(this.#logprobs)];
    return (
      `{"text_offset":${offsets},"token_logprobs":${logprobs},` +
      `"tokens":[${this.#tokens.join()}],"top_logprobs":[${this.#top.join()}]}`
    );
  }
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
