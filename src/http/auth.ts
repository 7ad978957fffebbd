import { createHash, timingSafeEqual } from "node:crypto";
import { ApiError } from "../errors.js";

/** The keys that clients may send. Digests of equal length are compared, in constant time. */
export class ApiKeys {
  readonly #digests: readonly Buffer[];

  constructor(keys: readonly string[]) {
    this.#digests = keys.map(digest);
  }

  /** Throws ApiError when keys are set and `authorization` holds none of them. */
  check(authorization: string): void {
    if (this.#digests.length === 0) return;
    const key = /^bearer +(.+)$/i.exec(authorization)?.[1];
    if (key === undefined) throw new ApiError("missing_api_key");
    const given = digest(key);
    const matches = this.#digests.filter((known) => timingSafeEqual(known, given));
    if (matches.length === 0) throw new ApiError("invalid_api_key");
  }
}

function digest(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}
