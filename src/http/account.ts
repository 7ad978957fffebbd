import type { ApiContext } from "../api/context.js";
import type { SentenceEncoder } from "../encoders/encoder.js";
import { ApiError, type ErrorCode } from "../errors.js";
import type { GenerateRequest, Generation, Generator, Reservation } from "../scheduler/request.js";

/** What the holder of a key may use; a limit that is absent does not exist. */
export const ACCOUNT_LIMITS = [
  "requests_per_minute",
  "tokens_per_minute",
  "tokens_per_day", // of the calendar, in UTC
] as const;
export type AccountLimits = { readonly [Limit in (typeof ACCOUNT_LIMITS)[number]]?: number };

const MINUTE = 60;
const DAY = 86_400;

/** Fills up evenly to its size within a minute. May be overdrawn: what a request costs is known later. */
class Bucket {
  readonly #size: number;
  #level: number;
  #filled: number;

  constructor(size: number, now: number) {
    this.#size = size;
    this.#level = size;
    this.#filled = now;
  }

  take(amount: number): void {
    this.#level -= amount;
  }

  /** Seconds until it holds `amount`; 0 = now. */
  wait(amount: number, now: number): number {
    const perSecond = this.#size / MINUTE;
    this.#level = Math.min(this.#size, this.#level + (now - this.#filled) * perSecond);
    this.#filled = now;
    return Math.max(0, (Math.min(amount, this.#size) - this.#level) / perSecond);
  }
}

/** The holder of a key and what is left of the holder's limits. Prompt and completion tokens count. */
export class Account {
  readonly name: string;
  readonly #limits: AccountLimits;
  readonly #clock: () => number;
  readonly #requests: Bucket | null;
  readonly #tokens: Bucket | null;
  #day = 0;
  #usedToday = 0;

  /** `clock`: seconds since 1970. */
  constructor(name: string, limits: AccountLimits, clock = () => Date.now() / 1000) {
    this.name = name;
    this.#limits = limits;
    this.#clock = clock;
    const bucket = (size?: number) => (size === undefined ? null : new Bucket(size, clock()));
    this.#requests = bucket(limits.requests_per_minute);
    this.#tokens = bucket(limits.tokens_per_minute);
  }

  get limited(): boolean {
    return Object.keys(this.#limits).length > 0;
  }

  /** Counts a request. Throws ApiError when the holder has to wait. */
  admit(): void {
    const now = this.#clock();
    const { requests_per_minute, tokens_per_minute, tokens_per_day = Infinity } = this.#limits;
    this.#turnDay(now);
    if (this.#usedToday >= tokens_per_day) {
      const wait = (this.#day + 1) * DAY - now;
      throw this.#refusal("insufficient_quota", `${tokens_per_day} tokens per day`, wait);
    }
    const tokenWait = this.#tokens?.wait(1, now) ?? 0;
    if (tokenWait > 0) {
      const limit = `${tokens_per_minute} tokens per minute`;
      throw this.#refusal("token_rate_limit_exceeded", limit, tokenWait);
    }
    const requestWait = this.#requests?.wait(1, now) ?? 0;
    if (requestWait > 0) {
      const limit = `${requests_per_minute} requests per minute`;
      throw this.#refusal("rate_limit_exceeded", limit, requestWait);
    }
    this.#requests?.take(1);
  }

  /** Counts tokens that were computed for the holder. */
  charge(tokens: number): void {
    this.#tokens?.take(tokens);
    this.#turnDay(this.#clock());
    this.#usedToday += tokens;
  }

  #turnDay(now: number): void {
    const day = Math.floor(now / DAY);
    if (day === this.#day) return;
    this.#day = day;
    this.#usedToday = 0;
  }

  #refusal(code: ErrorCode, limit: string, wait: number): ApiError {
    const retryAfter = Math.max(1, Math.ceil(wait));
    const message = `The limit of ${limit} for the API key "${this.name}" is reached; try again in ${retryAfter} s.`;
    return new ApiError(code, { message, retryAfter });
  }
}

/** The same generator on the account's bill. */
function metered(generator: Generator, account: Account): Generator {
  return {
    reserve(generations: number, tokens: number): Reservation {
      const room = generator.reserve(generations, tokens);
      try {
        account.admit();
      } catch (error) {
        room.release();
        throw error;
      }
      return room;
    },
    submit(request: GenerateRequest): Generation {
      const generation = generator.submit({
        ...request,
        onEvent: (event) => {
          const stopped = event.kind === "finish" && event.stopToken !== null;
          if (event.kind === "token" || stopped) account.charge(1);
          request.onEvent(event);
        },
      });
      account.charge(request.prompt.length);
      return generation;
    },
  };
}

function meteredEncoder(encoder: SentenceEncoder, account: Account): SentenceEncoder {
  const { name, root, created, maxTokens, width, vocab, dimensions } = encoder;
  return {
    ...{ name, root, created, maxTokens, width, vocab, dimensions },
    async encode(inputs, options) {
      account.admit();
      const encoded = await encoder.encode(inputs, options);
      account.charge(encoded.tokens);
      return encoded;
    },
  };
}

/** The context of a client: its generations and embeddings count for its account. */
export function onBillOf(account: Account | null, context: ApiContext): ApiContext {
  if (account === null || !account.limited) return context;
  const { generator, encoder } = context;
  return {
    ...context,
    generator: metered(generator, account),
    encoder: encoder === null ? null : meteredEncoder(encoder, account),
  };
}
