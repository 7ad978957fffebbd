import type { Lifecycle } from "../api/context.js";
import type { ErrorCode } from "../errors.js";
import type { Tracing } from "../telemetry/tracing.js";
import type { ApiKey } from "./auth.js";
import type { PageFiles } from "./page-files.js";
import type { BodyLimits } from "./request.js";
import type { TlsFiles } from "./tls.js";

export interface Limits extends BodyLimits {
  /** A WebSocket message; larger ones close it with 1009. */
  readonly frameBytes: number;
  /** A WebSocket that is silent for so long, pings unanswered, is dropped; uWS takes 8 and more. */
  readonly socketIdleSeconds: number;
  /** A generation's longest time; null = as long as it takes. Clients may ask for less. */
  readonly requestMs: number | null;
  /** What may wait for a client that reads slowly, before it is dropped. */
  readonly waitingBytes: number;
}

export const DEFAULT_LIMITS: Limits = {
  bodyBytes: 8 << 20,
  bodyIdleMs: 5_000,
  bodyTotalMs: 60_000,
  requestMs: null,
  frameBytes: 8 << 20,
  socketIdleSeconds: 120,
  waitingBytes: 4 << 20,
};

/** The part of a pino logger that is used here. */
export interface Log {
  debug(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface ServerOptions {
  readonly host: string;
  readonly port: number; // 0 = any free one
  readonly tls: TlsFiles | null; // null = plain HTTP
  readonly corsOrigin: string | null;
  readonly apiKeys: readonly ApiKey[]; // none = open to all
  readonly limits: Limits;
  readonly lifecycle: () => Lifecycle;
  /** Hears of every request or generation that an error answered. */
  readonly refused: (code: ErrorCode) => void;
  readonly metricsText: () => string | Promise<string>;
  /** Null where no spans are recorded. */
  readonly tracing: () => Tracing | null;
  readonly version: string;
  /** The playground page; null = none. */
  readonly pages: PageFiles | null;
  readonly log: Log;
}
