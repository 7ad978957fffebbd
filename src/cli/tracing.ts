import type { Config } from "../config.js";
import type { Logger } from "../log.js";
import type { Metrics } from "../metrics/metrics.js";
import type { Tracing } from "../telemetry/tracing.js";
import { VERSION } from "../version.js";

/** Null where no traces are wanted: then nothing of OpenTelemetry is loaded. */
export async function startTracing(
  { otlpEndpoint: endpoint, otlpSample, otlpSteps }: Config,
  metrics: Metrics,
  log: Logger,
): Promise<Tracing | null> {
  if (endpoint === null) return null;
  const openTelemetry = await import("../telemetry/open-telemetry.js");
  const tracing = openTelemetry.startTracing({
    endpoint,
    sampled: otlpSample / 100,
    version: VERSION,
    sent: (spans) => metrics.spansSent(spans),
    dropped: (reason, spans) => metrics.spansDropped(reason, spans),
    log,
  });
  if (otlpSteps) {
    metrics.followSteps((rows, seconds) => {
      const landed = performance.now();
      tracing.step(landed - 1000 * seconds, landed, { "smore.step.rows": rows });
    });
  }
  return tracing;
}
