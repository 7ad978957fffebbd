import { UsageError } from "../../src/cli/options.js";
import type { Pace } from "./arrivals.js";
import type { ClientOptions } from "./options.js";

/** The options whose values have a form of their own, taken apart. */

export const METRICS = ["ttft", "tpot", "itl", "e2el"] as const;
export type Metric = (typeof METRICS)[number];
export type Goodput = ReadonlyMap<Metric, number>; // most milliseconds

export interface Settings {
  readonly pace: Pace;
  readonly goodput: Goodput;
  readonly metrics: readonly Metric[];
  readonly ranks: readonly number[];
  readonly extraBody: object;
  readonly headers: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Throws UsageError. */
export function readSettings(options: ClientOptions): Settings {
  if (options.datasetName === "custom" && options.datasetPath === null) {
    throw new UsageError("--dataset-name custom needs --dataset-path");
  }
  if (options.datasetName === "random" && options.backend === "openai-chat") {
    throw new UsageError(
      "--dataset-name random makes token ids, which chat cannot take: use words",
    );
  }
  return {
    pace: readPace(options),
    goodput: readGoodput(options.goodput),
    metrics: options.percentileMetrics
      .split(",")
      .map((name) => metric("--percentile-metrics", name)),
    ranks: options.metricPercentiles.split(",").map(readRank),
    extraBody: readObject(options.extraBody),
    headers: readPairs("--header", options.header),
    metadata: readPairs("--metadata", options.metadata),
  };
}

function readPace(options: ClientOptions): Pace {
  const { requestRate: rate, burstiness, rampUpStrategy: strategy } = options;
  if (strategy === "none") return { rate, burstiness, rampUp: null };
  if (rate !== Number.POSITIVE_INFINITY) {
    throw new UsageError("--request-rate and --ramp-up-strategy exclude each other");
  }
  const rampUp = { strategy, start: options.rampUpStartRps, end: options.rampUpEndRps };
  return { rate, burstiness, rampUp };
}

function readGoodput(bounds: readonly string[]): Goodput {
  return new Map(
    bounds.map((bound) => {
      const [name = "", limit = ""] = bound.split(":");
      const milliseconds = Number(limit);
      const key = metric("--goodput", name);
      if (limit === "" || !(milliseconds >= 0) || key === "itl") {
        throw new UsageError(`--goodput must be ttft:MS, tpot:MS or e2el:MS, not "${bound}"`);
      }
      return [key, milliseconds];
    }),
  );
}

function metric(flag: string, name: string): Metric {
  const found = METRICS.find((candidate) => candidate === name);
  if (found !== undefined) return found;
  throw new UsageError(`${flag} knows ${METRICS.join(", ")}, not "${name}"`);
}

function readRank(text: string): number {
  const rank = Number(text);
  if (text.trim() !== "" && rank >= 0 && rank <= 100) return rank;
  throw new UsageError(`--metric-percentiles must be numbers from 0 to 100, not "${text}"`);
}

function readObject(text: string): object {
  const fault = () => new UsageError(`--extra-body must be a JSON object, not ${text}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw fault();
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw fault();
  return value;
}

function readPairs(flag: string, pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1) throw new UsageError(`${flag} must be KEY=VALUE, not "${pair}"`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}
