import type { Measures } from "./measure.js";
import type { Context, Result } from "./result.js";
import type { Metric } from "./settings.js";

const TITLES: Record<Metric, readonly [short: string, title: string]> = {
  ttft: ["TTFT", "Time to First Token"],
  tpot: ["TPOT", "Time per Output Token (excl. 1st token)"],
  itl: ["ITL", "Inter-token Latency"],
  e2el: ["E2EL", "End-to-end Latency"],
};
const WIDTH = 50;

/** The block that vLLM's client prints, and what the server counted. */
export function consoleBlock(result: Result, measures: Measures, { settings, options }: Context) {
  const lines = [
    heading("Serving Benchmark Result", "="),
    row("Successful requests:", result.completed),
    row("Failed requests:", result.failed),
  ];
  const add = (name: string, value: number | string) => lines.push(row(name, value));
  if (result.max_concurrency !== null) add("Maximum request concurrency:", result.max_concurrency);
  if (result.request_rate !== "inf") add("Request rate configured (RPS):", options.requestRate);
  add("Benchmark duration (s):", fixed(result.duration));
  add("Total input tokens:", result.total_input_tokens);
  add("Total generated tokens:", result.total_output_tokens);
  add("Request throughput (req/s):", fixed(result.request_throughput));
  if (result.request_goodput !== null) {
    add("Request goodput (req/s):", fixed(result.request_goodput));
  }
  add("Output token throughput (tok/s):", fixed(result.output_throughput));
  add("Peak output token throughput (tok/s):", fixed(result.max_output_tokens_per_s));
  add("Peak concurrent requests:", fixed(result.max_concurrent_requests));
  add("Total token throughput (tok/s):", fixed(result.total_token_throughput));
  for (const metric of settings.metrics) {
    const [short, title] = TITLES[metric];
    const { mean, median, percentiles } = measures.summaries.get(metric)!;
    lines.push(heading(title, "-"));
    add(`Mean ${short} (ms):`, fixed(mean));
    add(`Median ${short} (ms):`, fixed(median));
    for (const [index, rank] of settings.ranks.entries()) {
      add(`P${rank} ${short} (ms):`, fixed(percentiles[index]!));
    }
  }
  lines.push(...serverLines(result), "=".repeat(WIDTH), ...errorLines(measures));
  return lines.join("\n");
}

function serverLines({ server_view: view, client_cpu_us_per_token: clientCpu }: Result): string[] {
  const lines = [heading("Both Sides", "-"), row("Client CPU per token (us):", fixed(clientCpu))];
  if (view === null) return [...lines, row("Server's counters:", "none of vLLM's names")];
  lines.push(row("Server's generated tokens:", view.generation_tokens));
  lines.push(row("Server's mean TTFT (ms):", fixed(view.mean_ttft_ms)));
  if (view.cpu_us_per_token !== null) {
    lines.push(row("Server CPU per token (us):", fixed(view.cpu_us_per_token)));
  }
  if (view.resident_mb !== null) {
    lines.push(row("Server memory at the end (MB):", fixed(view.resident_mb)));
  }
  lines.push(row("Server's counts agree:", view.agrees ? "yes" : "no"));
  return lines;
}

/** Each kind of error once. */
function errorLines({ failed }: Measures): string[] {
  const counts = new Map<string, number>();
  for (const { error } of failed) counts.set(error!, (counts.get(error!) ?? 0) + 1);
  return [...counts].map(([error, count]) => `${count} failed: ${error}`);
}

function heading(title: string, line: string): string {
  const left = Math.floor((WIDTH - title.length - 2) / 2);
  const padded = line === "=" ? ` ${title} ` : title;
  const start = line === "=" ? left : Math.floor((WIDTH - title.length) / 2);
  return `${line.repeat(start)}${padded}`.padEnd(WIDTH, line);
}

function row(name: string, value: number | string): string {
  return `${name.padEnd(40)} ${String(value).padEnd(10)}`.trimEnd();
}

function fixed(value: number): string {
  return value.toFixed(2);
}
