import { createHash, timingSafeEqual } from "node:crypto";
import { ApiError } from "../errors.js";
import { Account, type AccountLimits } from "./account.js";

/** A key that clients may send, and what its holder is called in the log. */
export interface ApiKey {
  readonly name: string;
  readonly key: string;
  readonly limits: AccountLimits;
}

/** The keys that clients may send. Digests of equal length are compared, in constant time. */
export class ApiKeys {
  readonly #holders: readonly { readonly digest: Buffer; readonly account: Account }[];

  constructor(keys: readonly ApiKey[]) {
    this.#holders = keys.map(({ name, key, limits }) => ({
      digest: digest(key),
      account: new Account(name, limits),
    }));
  }

  /** Whose key `authorization` holds; null when no keys are set. Throws ApiError when it holds none of them. */
  check(authorization: string): Account | null {
    if (this.#holders.length === 0) return null;
    const key = /^bearer +(.+)$/i.exec(authorization)?.[1];
    if (key === undefined) throw new ApiError("missing_api_key");
    const given = digest(key);
    // All of them are compared, whichever it is.
    const matches = this.#holders.filter((holder) => timingSafeEqual(holder.digest, given));
    if (matches[0] === undefined) throw new ApiError("invalid_api_key");
    return matches[0].account;
  }
}

function digest(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}
