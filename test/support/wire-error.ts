import assert from "node:assert/strict";
import type { ErrorCode } from "../../src/errors.js";

/** Errors as clients meet them. */

export const INVALID = "invalid_request_error";
export const SERVER = "server_error";

export interface Body {
  readonly error: Readonly<Record<string, string | null>>;
}

export interface Answer {
  readonly status: number;
  readonly body: Body;
  readonly headers: Headers;
}

/** What an answer must be: status, type, param, code, message, and the headers that belong to it. */
type Expected = readonly [
  status: number,
  type: string,
  param: string | null,
  code: string | null,
  message: RegExp,
  headers?: Readonly<Record<string, string>>,
];

/** Rows that were checked: by one file of tests, since each has a process of its own. */
export const seen = new Set<ErrorCode>();

export function check(row: ErrorCode, { status, body, headers }: Answer, expected: Expected): void {
  const [wantedStatus, type, param, code, message, wantedHeaders = {}] = expected;
  assert.deepEqual(Object.keys(body), ["error"], row);
  assert.deepEqual(Object.keys(body.error), ["message", "type", "param", "code"], row);
  assert.deepEqual(
    [status, body.error.type, body.error.param, body.error.code],
    [wantedStatus, type, param, code],
    `${row}: ${body.error.message}`,
  );
  assert.match(body.error.message ?? "", message);
  assert.ok(!/[\r\n]/.test(body.error.message ?? ""), row);
  assert.match(headers.get("content-type") ?? "", /^application\/json/, row);
  assert.notEqual(headers.get("x-request-id"), null, row);
  for (const [name, value] of Object.entries(wantedHeaders)) {
    assert.equal(headers.get(name), value, `${row}: ${name}`);
  }
  seen.add(row);
}

export async function read(response: Response): Promise<Answer> {
  const body = (await response.json()) as Body;
  return { status: response.status, body, headers: response.headers };
}

/** What only an engine that loads adapters answers. */
export const OF_LOADED_ADAPTERS: readonly ErrorCode[] = [
  "adapter_exists",
  "adapter_not_found",
  "adapter_path_not_allowed",
  "invalid_adapter",
];
