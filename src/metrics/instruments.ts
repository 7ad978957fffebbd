import { Counter, Gauge, type Registry } from "prom-client";
import { Distribution } from "./distribution.js";
import type { MetricRow } from "./table.js";

type Instrument<Row extends MetricRow> = Row extends { kind: "gauge" }
  ? Gauge
  : Row extends { kind: "counter" }
    ? Counter
    : Distribution;
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

function createInstrument(row: MetricRow, registry: Registry): Gauge | Counter | Distribution {
  if (row.kind === "histogram") return new Distribution(row, registry);
  const { name, help } = row;
  const shared = { name, help, labelNames: [...row.labels], registers: [registry] };
  if (row.kind === "gauge") return new Gauge(shared);
  return new Counter(shared);
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
