import { randomBytes } from "node:crypto";

/** W3C Trace Context: where a request stands in a trace that began elsewhere, or begins here. */

/** A span, as the headers traceparent and tracestate name it. */
export interface SpanName {
  readonly traceId: string; // 32 hexadecimal digits
  readonly spanId: string; // 16 of them
  readonly sampled: boolean;
  /** What others along the way want to be told; empty where they say nothing. */
  readonly state: string;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const TRACESTATE = /^[\x20-\x7e\t]{0,512}$/;
const SAMPLED = 1;

/** The caller's span; null where the headers name none, as they do when they are malformed. */
export function readTraceContext(traceparent: string, tracestate: string): SpanName | null {
  const match = TRACEPARENT.exec(traceparent);
  if (match === null) return null;
  const [, version, traceId = "", spanId = "", flags = "", more] = match;
  // Later versions may say more; they keep what the first one says.
  if (version === "ff" || (version === "00" && more !== undefined)) return null;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return null;
  const sampled = (Number.parseInt(flags, 16) & SAMPLED) === SAMPLED;
  return { traceId, spanId, sampled, state: TRACESTATE.test(tracestate) ? tracestate : "" };
}

/** A span below `parent` that nobody records. */
export function unrecordedChild(parent: SpanName): SpanName {
  return { ...parent, spanId: randomBytes(8).toString("hex") };
}

export function traceparent({ traceId, spanId, sampled }: SpanName): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}
