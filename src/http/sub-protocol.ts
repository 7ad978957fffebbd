/** Browsers let a page set no header of a WebSocket but its sub-protocols: one of them may carry the key. */

const KEY_PREFIX = "openai-insecure-api-key.";

export interface SubProtocol {
  /** Null where none of them carries one. */
  readonly key: string | null;
  /** What the server answers with: browsers give up unless it is one of those they offered. */
  readonly chosen: string;
}

export function readSubProtocols(header: string): SubProtocol {
  const offered = header.split(",").map((protocol) => protocol.trim());
  const carrier = offered.find((protocol) => protocol.startsWith(KEY_PREFIX));
  const chosen = offered.find((protocol) => protocol !== carrier) ?? offered[0] ?? "";
  return { key: carrier?.slice(KEY_PREFIX.length) ?? null, chosen };
}
