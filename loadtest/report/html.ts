import type { Result } from "../client/result.js";
import { escapeXml, linePlot, type Plot, type Series } from "./plot.js";

export interface NamedResult {
  readonly name: string;
  readonly result: Result;
}

/** Written with --save-detailed; seconds. */
interface Details {
  readonly start_times: readonly number[];
  readonly ttfts: readonly number[];
  readonly itls: readonly (readonly number[])[];
  readonly errors: readonly string[];
}

const COLUMNS: readonly (readonly [title: string, cell: (result: Result) => string])[] = [
  ["model", ({ model_id }) => model_id],
  ["concurrency", ({ max_concurrency }) => String(max_concurrency ?? "unbounded")],
  ["requests/s asked", ({ request_rate }) => String(request_rate)],
  ["completed", ({ completed }) => String(completed)],
  ["failed", ({ failed }) => String(failed)],
  ["requests/s", ({ request_throughput }) => request_throughput.toFixed(2)],
  ["goodput, requests/s", ({ request_goodput }) => request_goodput?.toFixed(2) ?? "–"],
  ["tokens/s", ({ output_throughput }) => output_throughput.toFixed(1)],
  ...["ttft", "tpot", "itl", "e2el"].flatMap((metric) =>
    ["median", "p99"].map(
      (which) =>
        [
          `${which} ${metric.toUpperCase()}, ms`,
          (result: Result) => figure(result, `${which}_${metric}_ms`)?.toFixed(1) ?? "–",
        ] as const,
    ),
  ),
];

const STYLE = `body{font:14px system-ui,sans-serif;margin:2rem;color:#1f2328;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #d0d7de;padding:4px 8px;text-align:right}
th:first-child,td:first-child{text-align:left}.table{overflow-x:auto}svg{max-width:100%;height:auto;margin:0 1rem 1rem 0}`;

/** One page that needs nothing else. */
export function htmlReport(title: string, results: readonly NamedResult[]): string {
  const heads = ["run", ...COLUMNS.map(([head]) => head)];
  const rows = results.map(({ name, result }) => [
    name,
    ...COLUMNS.map(([, cell]) => cell(result)),
  ]);
  const line = (tag: string, cells: readonly string[]) =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeXml(cell)}</${tag}>`).join("")}</tr>`;
  const plots = [...plotsOverConcurrency(results), ...plotsOfDetails(results)];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeXml(title)}</title><style>${STYLE}</style></head><body>
<h1>${escapeXml(title)}</h1>
<div class="table"><table>
${[line("th", heads), ...rows.map((cells) => line("td", cells))].join("\n")}
</table></div>
${plots.map(linePlot).join("\n")}
</body></html>
`;
}

/** A line for each name that has runs at several concurrencies. */
function plotsOverConcurrency(results: readonly NamedResult[]): Plot[] {
  const bounded = results.filter(({ result }) => result.max_concurrency !== null);
  const names = [...new Set(bounded.map(({ name }) => name))];
  const seriesOf = (field: string): Series[] =>
    names
      .map((name) => ({
        name,
        points: bounded
          .filter((each) => each.name === name && figure(each.result, field) !== null)
          .map(({ result }) => [result.max_concurrency!, figure(result, field)!] as const)
          .sort(([a], [b]) => a - b),
      }))
      .filter(({ points }) => points.length > 1);
  const plots = [
    ["Tokens per second", "tokens/s", "output_throughput"],
    ["Median time to first token", "ms", "median_ttft_ms"],
    ["Median time per output token", "ms", "median_tpot_ms"],
  ] as const;
  return plots
    .map(([title, yLabel, field]) => ({ title, yLabel, series: seriesOf(field) }))
    .filter(({ series }) => series.length > 0)
    .map((plot) => ({ ...plot, xLabel: "requests at a time", xScale: "log2" as const }));
}

function plotsOfDetails(results: readonly NamedResult[]): Plot[] {
  const detailed = results.flatMap(({ name, result }) => {
    const details = detailsOf(result);
    return details === null ? [] : [{ name, details }];
  });
  if (detailed.length === 0) return [];
  const series = (points: (details: Details) => Series["points"]) =>
    detailed.map(({ name, details }) => ({ name, points: points(details) }));
  const spread = { xLabel: "ms", yLabel: "share of all", markers: false };
  return [
    {
      title: "Time to first token: share that is at most",
      series: series(({ ttfts, errors }) => shares(ttfts.filter((_, i) => errors[i] === ""))),
      ...spread,
    },
    {
      title: "Inter-token latency: share that is at most",
      series: series(({ itls }) => shares(itls.flat())),
      ...spread,
    },
    {
      title: "Tokens per second over time",
      xLabel: "seconds from the start",
      yLabel: "tokens/s",
      markers: false,
      series: series(tokensOverTime),
    },
  ];
}

/** The cumulative distribution in ms, by its percentiles. */
function shares(seconds: readonly number[]): [number, number][] {
  const sorted = Float64Array.from(seconds).sort();
  if (sorted.length === 0) return [];
  return Array.from({ length: 101 }, (_, rank) => {
    const index = Math.round((rank / 100) * (sorted.length - 1));
    return [sorted[index]! * 1000, rank / 100];
  });
}

function tokensOverTime({ start_times, ttfts, itls, errors }: Details): [number, number][] {
  const counts: number[] = [];
  for (const [request, start] of start_times.entries()) {
    if (errors[request] !== "") continue;
    let time = start + ttfts[request]!;
    for (const gap of [0, ...itls[request]!]) {
      time += gap;
      const second = Math.floor(time);
      counts[second] = (counts[second] ?? 0) + 1;
    }
  }
  return Array.from(counts, (count, second) => [second + 0.5, count ?? 0]);
}

function detailsOf(result: Result): Details | null {
  const { start_times, ttfts, itls, errors } = result as Partial<Details>;
  return start_times && ttfts && itls && errors ? { start_times, ttfts, itls, errors } : null;
}

function figure(result: Result, field: string): number | null {
  const value = result[field];
  return typeof value === "number" ? value : null;
}
