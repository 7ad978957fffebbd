import { CommandError } from "../../src/cli/command.js";

/** The server's own counts, for a check from the other side. Names are vLLM's. */

export interface ServerCounters {
  readonly promptTokens: number;
  readonly generationTokens: number;
  readonly requests: number;
  readonly firstTokenSeconds: number; // sums over all requests
  readonly firstTokens: number;
  readonly cpuSeconds: number | null; // null: the server does not tell
  readonly residentBytes: number | null;
}

const NAMES = {
  promptTokens: "vllm:prompt_tokens_total",
  generationTokens: "vllm:generation_tokens_total",
  requests: "vllm:request_success_total",
  firstTokenSeconds: "vllm:time_to_first_token_seconds_sum",
  firstTokens: "vllm:time_to_first_token_seconds_count",
} as const;
const CPU_SECONDS = "process_cpu_seconds_total";
const RESIDENT_BYTES = "process_resident_memory_bytes";

/** null where there are no metrics, or not under these names. */
export async function readCounters(
  baseUrl: string,
  headers: Readonly<Record<string, string>>,
): Promise<ServerCounters | null> {
  const response = await fetch(new URL("/metrics", baseUrl), { headers });
  return response.ok ? parseCounters(await response.text()) : null;
}

/** What /metrics says, as in metricSums(). Throws CommandError where it has no such name. */
export async function readMetrics(url: string): Promise<(name: string) => number> {
  const response = await fetch(new URL("/metrics", url));
  if (!response.ok) throw new CommandError(`${url}/metrics answers ${response.status}`);
  const sums = metricSums(await response.text());
  return (name) => {
    const value = sums.get(name);
    if (value === undefined) throw new CommandError(`${url}/metrics has no ${name}`);
    return value;
  };
}

/** From Prometheus' text format: the series of each name added up, and each by its name with its labels. */
export function metricSums(text: string): Map<string, number> {
  const sums = new Map<string, number>();
  const add = (key: string, value: number) => sums.set(key, (sums.get(key) ?? 0) + value);
  for (const line of text.split("\n")) {
    const [, name, labels, value] = /^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)/.exec(line) ?? [];
    if (name === undefined) continue;
    add(name, Number(value));
    if (labels !== undefined) add(name + labels, Number(value));
  }
  return sums;
}

export function parseCounters(text: string): ServerCounters | null {
  const sums = metricSums(text);
  if (!Object.values(NAMES).every((name) => sums.has(name))) return null;
  const read = (key: keyof typeof NAMES) => sums.get(NAMES[key])!;
  return {
    promptTokens: read("promptTokens"),
    generationTokens: read("generationTokens"),
    requests: read("requests"),
    firstTokenSeconds: read("firstTokenSeconds"),
    firstTokens: read("firstTokens"),
    cpuSeconds: sums.get(CPU_SECONDS) ?? null,
    residentBytes: sums.get(RESIDENT_BYTES) ?? null,
  };
}

/** What the server counted during a run, as it stands in the result. */
export interface ServerView {
  readonly prompt_tokens: number;
  readonly generation_tokens: number;
  readonly requests: number;
  readonly mean_ttft_ms: number;
  readonly cpu_us_per_token: number | null;
  readonly resident_mb: number | null; // at the end
  readonly agrees: boolean; // with the client's counts
}

export function serverView(
  before: ServerCounters,
  after: ServerCounters,
  client: {
    readonly requests: number;
    readonly inputTokens: number;
    readonly outputTokens: number;
  },
): ServerView {
  const prompt = after.promptTokens - before.promptTokens;
  const generation = after.generationTokens - before.generationTokens;
  const requests = after.requests - before.requests;
  const firstTokens = Math.max(1, after.firstTokens - before.firstTokens);
  const cpu =
    before.cpuSeconds === null || after.cpuSeconds === null
      ? null
      : ((after.cpuSeconds - before.cpuSeconds) * 1e6) / Math.max(1, generation);
  return {
    prompt_tokens: prompt,
    generation_tokens: generation,
    requests,
    mean_ttft_ms: ((after.firstTokenSeconds - before.firstTokenSeconds) * 1000) / firstTokens,
    cpu_us_per_token: cpu,
    resident_mb: after.residentBytes === null ? null : after.residentBytes / 1e6,
    agrees:
      prompt === client.inputTokens &&
      generation === client.outputTokens &&
      requests === client.requests,
  };
}
