import { createHash, timingSafeEqual } from "node:crypto";
import { ApiError } from "../errors.js";
import { Account, type AccountLimits } from "./account.js";

/** A key that clients may send, and what its holder is called in the log. */
export interface ApiKey {
  readonly name: string;
  readonly key: string;
  /** May load and unload adapters. */
  readonly admin: boolean;
  readonly limits: AccountLimits;
}

interface Holder {
  readonly digest: Buffer;
  readonly admin: boolean;
  readonly account: Account;
}

/** The keys that clients may send. Digests of equal length are compared, in constant time. */
export class ApiKeys {
  readonly #holders: readonly Holder[];

  constructor(keys: readonly ApiKey[]) {
    this.#holders = keys.map(({ name, key, admin, limits }) => ({
      digest: digest(key),
      admin,
      account: new Account(name, limits),
    }));
  }

  /**
   * Whose key `authorization` holds; null when no keys are set. Throws ApiError when it holds none of
   * them, or when `admin` is asked for and the key does not have it.
   */
  check(authorization: string, admin = false): Account | null {
    if (this.#holders.length === 0) return null;
    const key = /^bearer +(.+)$/i.exec(authorization)?.[1];
    if (key === undefined) throw new ApiError("missing_api_key");
    const given = digest(key);
    // All of them are compared, whichever it is.
    const matches = this.#holders.filter((holder) => timingSafeEqual(holder.digest, given));
    if (matches[0] === undefined) throw new ApiError("invalid_api_key");
    if (admin && !matches[0].admin) throw new ApiError("admin_required");
    return matches[0].account;
  }
}

function digest(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}
