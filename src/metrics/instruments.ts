import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { MetricRow } from "./table.js";

type Instrument<Row extends MetricRow> = Row extends { kind: "gauge" }
  ? Gauge
  : Row extends { kind: "counter" }
    ? Counter
    : Histogram;
type Instruments<Table extends Record<string, MetricRow>> = {
  readonly [Name in keyof Table]: Instrument<Table[Name]>;
};

/** Makes every metric of a table known to a registry. */
export function createInstruments<Table extends Record<string, MetricRow>>(
  table: Table,
  registry: Registry,
): Instruments<Table> {
  const made = Object.entries(table).map(([key, row]) => [key, createInstrument(row, registry)]);
  return Object.fromEntries(made) as Instruments<Table>;
}

function createInstrument(row: MetricRow, registry: Registry): Gauge | Counter | Histogram {
  const { name, help } = row;
  const shared = { name, help, labelNames: [...row.labels], registers: [registry] };
  if (row.kind === "gauge") return new Gauge(shared);
  if (row.kind === "counter") return new Counter(shared);
  return new Histogram({ ...shared, buckets: [...row.buckets] });
}

/** Shows a total that is counted elsewhere. */
export function showTotal(
  counter: Counter,
  total: number,
  labels: Record<string, string> = {},
): void {
  counter.remove(labels);
  counter.inc(labels, total);
}
