import { endToEnd, firstTokenTime, interToken, type Measures } from "./measure.js";
import type { ClientOptions } from "./options.js";
import type { Run } from "./run.js";
import type { ServerView } from "./server-counters.js";
import type { Settings } from "./settings.js";
import type { Outcome } from "./stream.js";

/** What one run gave; the fields of vLLM's client, and server_view, client_cpu_us_per_token, tokens_from. */
export interface Result {
  readonly date: string;
  readonly label: string | null;
  readonly model_id: string;
  readonly num_prompts: number;
  readonly request_rate: number | "inf";
  readonly max_concurrency: number | null;
  readonly duration: number;
  readonly completed: number;
  readonly failed: number;
  readonly total_input_tokens: number;
  readonly total_output_tokens: number;
  readonly request_throughput: number;
  readonly request_goodput: number | null;
  readonly output_throughput: number;
  readonly total_token_throughput: number;
  readonly max_output_tokens_per_s: number;
  readonly max_concurrent_requests: number;
  readonly tokens_from: "usage" | "events"; // events: some answer told no usage
  readonly client_cpu_us_per_token: number;
  readonly server_view: ServerView | null; // null: no metrics under vLLM's names
  readonly [field: string]: unknown; // {mean,median,std,pNN}_{ttft,tpot,itl,e2el}_ms, details, metadata
}

export interface Context {
  readonly options: ClientOptions;
  readonly settings: Settings;
  readonly model: string;
  readonly run: Run;
  readonly clientCpuSeconds: number;
  readonly serverView: ServerView | null;
}

export function makeResult(measures: Measures, context: Context): Result {
  const { options, settings, model, run } = context;
  const { completed, failed, inputTokens, outputTokens } = measures;
  const rate = (count: number) => count / run.seconds;
  return {
    date: timestamp(new Date()),
    endpoint_type: options.backend,
    backend: options.backend,
    label: options.label,
    model_id: model,
    tokenizer_id: model,
    num_prompts: options.numPrompts,
    ...settings.metadata,
    request_rate: finite(options.requestRate),
    burstiness: options.burstiness,
    max_concurrency: options.maxConcurrency || null,
    ...rampUp(settings),
    lora_modules: options.loraModules,
    lora_assignment: options.loraModules.length > 0 ? options.loraAssignment : null,
    duration: run.seconds,
    completed: completed.length,
    failed: failed.length,
    total_input_tokens: inputTokens,
    total_output_tokens: outputTokens,
    request_throughput: rate(completed.length),
    request_goodput: settings.goodput.size > 0 ? rate(measures.goodRequests) : null,
    output_throughput: rate(outputTokens),
    total_token_throughput: rate(inputTokens + outputTokens),
    max_output_tokens_per_s: measures.peakTokensPerSecond,
    max_concurrent_requests: measures.peakConcurrency,
    tokens_from: completed.every(({ usageTold }) => usageTold) ? "usage" : "events",
    client_cpu_us_per_token: (context.clientCpuSeconds * 1e6) / Math.max(1, outputTokens),
    server_view: context.serverView,
    ...latencies(measures, settings),
    ...(options.saveDetailed ? details(run) : {}),
  };
}

/** As in 20261122-174500. */
function timestamp(date: Date): string {
  return date.toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
}

function rampUp({ pace }: Settings): object {
  if (pace.rampUp === null) return {};
  const { strategy, start, end } = pace.rampUp;
  return { ramp_up_strategy: strategy, ramp_up_start_rps: start, ramp_up_end_rps: end };
}

function latencies({ summaries }: Measures, { metrics, ranks }: Settings): Record<string, number> {
  const fields: Record<string, number> = {};
  for (const metric of metrics) {
    const { mean, median, std, percentiles } = summaries.get(metric)!;
    fields[`mean_${metric}_ms`] = mean;
    fields[`median_${metric}_ms`] = median;
    fields[`std_${metric}_ms`] = std;
    for (const [index, rank] of ranks.entries())
      fields[`p${rank}_${metric}_ms`] = percentiles[index]!;
  }
  return fields;
}

/** Of every request, in seconds as vLLM's client has them; a failed one has zeros. */
function details({ outcomes, start: runStart }: Run): object {
  const seconds = (value: (outcome: Outcome) => number) =>
    outcomes.map((outcome) => (outcome.error === null ? value(outcome) / 1000 : 0));
  return {
    input_lens: outcomes.map(({ promptTokens }) => promptTokens),
    output_lens: outcomes.map(({ outputTokens }) => outputTokens),
    start_times: outcomes.map(({ start }) => (start - runStart) / 1000),
    ttfts: seconds(firstTokenTime),
    e2els: seconds(endToEnd),
    itls: outcomes.map((outcome) => interToken(outcome).map((gap) => gap / 1000)),
    models: outcomes.map(({ model }) => model),
    generated_texts: outcomes.map(({ text }) => text ?? ""),
    errors: outcomes.map(({ error }) => error ?? ""),
  };
}

function finite(rate: number): number | "inf" {
  return rate === Infinity ? "inf" : rate;
}

export function resultFilename({ options, model }: Context, { date, max_concurrency }: Result) {
  if (options.resultFilename !== null) return options.resultFilename;
  const concurrency = max_concurrency === null ? "" : `-concurrency${max_concurrency}`;
  const base = model.split("/").at(-1);
  const label = options.label ?? options.backend;
  return `${label}-${finite(options.requestRate)}qps${concurrency}-${base}-${date}.json`;
}
