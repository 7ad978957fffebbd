import http from "node:http";
import https from "node:https";
import {
  type Context,
  createTraceState,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from "@opentelemetry/api";
import { getNumberFromEnv } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import {
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { SpanQueue, type SpanQueueOptions } from "./span-queue.js";
import type { SpanName } from "./trace-context.js";
import type { Attributes, OpenSpan, Tracing } from "./tracing.js";

/** Spans by OpenTelemetry's SDK, sent by OTLP. Loaded only where traces are wanted. */

export interface TracingOptions extends Omit<SpanQueueOptions, "exporter" | "timeoutMs" | "abort"> {
  /** The collector's URL, without /v1/traces. */
  readonly endpoint: string;
  /** Share of the traces that begin here, 0 to 1. */
  readonly sampled: number;
  readonly version: string;
}

/** The longest that timers know. */
const MOST_MS = 2 ** 31 - 1;

/** As OpenTelemetry specifies it, in milliseconds. */
function exportTimeout(): number {
  const names = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
  const told = names.map((name) => getNumberFromEnv(name) ?? 0).find((ms) => ms > 0);
  return Math.min(told ?? 10_000, MOST_MS);
}

/** OTEL_EXPORTER_OTLP_HEADERS and its kin, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are the libraries' own to read. */
export function startTracing({ endpoint, sampled, version, ...rest }: TracingOptions): Tracing {
  const timeoutMs = exportTimeout();
  const { Agent } = endpoint.startsWith("https:") ? https : http;
  const agent = new Agent({ keepAlive: true });
  const exporter = new OTLPTraceExporter({
    url: `${endpoint}/v1/traces`,
    timeoutMillis: timeoutMs,
    httpAgentOptions: () => agent,
  });
  const queue = new SpanQueue({ ...rest, exporter, timeoutMs, abort: () => agent.destroy() });
  void queue.warm();
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      "service.name": "smore-serve",
      "service.version": version,
    }).merge(detectResources({ detectors: [envDetector] })),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(sampled) }),
    spanProcessors: [queue],
  });
  const tracer = provider.getTracer("smore-serve", version);

  const begin = (
    what: string,
    from: number,
    kind: SpanKind,
    attributes: Attributes,
    parent: Context,
  ): OpenSpan => {
    const settings = { kind, startTime: epoch(from), attributes: copied(attributes) };
    const span = tracer.startSpan(what, settings, parent);
    return {
      name: nameOf(span.spanContext()),
      begin: (below, since, more = {}) =>
        begin(below, since, SpanKind.INTERNAL, more, trace.setSpan(ROOT_CONTEXT, span)),
      end(to, more = {}, failed = false) {
        span.setAttributes(copied(more));
        if (failed) span.setStatus({ code: SpanStatusCode.ERROR });
        span.end(epoch(to));
      },
    };
  };

  return {
    request: (what, from, parent, attributes) =>
      begin(what, from, SpanKind.SERVER, attributes, remote(parent)),
    step: (from, to, attributes) =>
      begin("step", from, SpanKind.INTERNAL, attributes, ROOT_CONTEXT).end(to),
    close: () => queue.close(),
  };
}

/** Milliseconds of performance.now() as those since 1970. */
function epoch(time: number): number {
  return performance.timeOrigin + time;
}

/** The library wants arrays that it may change. */
function copied(attributes: Attributes) {
  return Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [
      name,
      typeof value === "object" ? [...value] : value,
    ]),
  );
}

function remote(parent: SpanName | null): Context {
  if (parent === null) return ROOT_CONTEXT;
  const { traceId, spanId, sampled, state } = parent;
  const traceState = createTraceState(state);
  const traceFlags = sampled ? TraceFlags.SAMPLED : TraceFlags.NONE;
  return trace.setSpanContext(ROOT_CONTEXT, {
    ...{ traceId, spanId, traceFlags, traceState },
    isRemote: true,
  });
}

function nameOf({ traceId, spanId, traceFlags, traceState }: SpanContext): SpanName {
  const sampled = (traceFlags & TraceFlags.SAMPLED) === TraceFlags.SAMPLED;
  return { traceId, spanId, sampled, state: traceState?.serialize() ?? "" };
}
