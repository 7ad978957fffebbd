import type { DistributionRow } from "./distribution.js";

/** Every metric of the server: name, meaning, buckets. Names of vllm: are those that routers and dashboards read. */

const TIME_TO_FIRST_TOKEN = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
  160, 640, 2560,
];
const PER_TOKEN = [
  0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
];
const LATENCY = [
  0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
];
const TOKENS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000,
];
const STEP = [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5];
const DELIVERY = [0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5];
const HOLD = [0.0001, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5];

interface GaugeRow {
  readonly kind: "gauge";
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
}
interface CounterRow extends Omit<GaugeRow, "kind"> {
  readonly kind: "counter";
}
interface HistogramRow extends DistributionRow {
  readonly kind: "histogram";
}
export type MetricRow = GaugeRow | CounterRow | HistogramRow;

const gauge = (name: string, help: string, labels: readonly string[] = []): GaugeRow => ({
  kind: "gauge",
  name,
  help,
  labels,
});
const counter = (name: string, help: string, labels: readonly string[] = []): CounterRow => ({
  kind: "counter",
  name,
  help,
  labels,
});
const histogram = (
  name: string,
  help: string,
  buckets: readonly number[],
  labels: DistributionRow["labels"] = [],
): HistogramRow => ({ kind: "histogram", name, help, labels, buckets });

/** Carry the labels model_name and engine: one series each (per label of their own). */
export const MODEL_METRICS = {
  running: gauge("vllm:num_requests_running", "Requests that are being computed."),
  waiting: gauge("vllm:num_requests_waiting", "Requests that wait to be computed."),
  waitingByReason: gauge(
    "vllm:num_requests_waiting_by_reason",
    "Waiting requests: for room (capacity) or for their adapter (deferred).",
    ["reason"],
  ),
  kvUsage: gauge("vllm:kv_cache_usage_perc", "Share of KV pages in use, 0 to 1."),
  promptTokens: counter("vllm:prompt_tokens_total", "Prompt tokens of requests that started."),
  cachedTokens: counter(
    "vllm:prompt_tokens_cached_total",
    "Prompt tokens that came from the prefix cache.",
  ),
  generatedTokens: counter("vllm:generation_tokens_total", "Tokens sampled."),
  success: counter("vllm:request_success_total", "Requests that ended, by reason.", [
    "finished_reason",
  ]),
  preemptions: counter(
    "vllm:num_preemptions_total",
    "Times that a request gave its pages up and was computed again.",
  ),
  prefixQueries: counter("vllm:prefix_cache_queries_total", "Tokens looked up in the cache."),
  prefixHits: counter("vllm:prefix_cache_hits_total", "Tokens found in the cache."),
  firstToken: histogram(
    "vllm:time_to_first_token_seconds",
    "From submission to the first token.",
    TIME_TO_FIRST_TOKEN,
  ),
  interToken: histogram(
    "vllm:inter_token_latency_seconds",
    "Between one token and the next of a request.",
    PER_TOKEN,
  ),
  perOutputToken: histogram(
    "vllm:request_time_per_output_token_seconds",
    "Mean time per token after the first, per request.",
    PER_TOKEN,
  ),
  endToEnd: histogram(
    "vllm:e2e_request_latency_seconds",
    "From submission to the last token.",
    LATENCY,
  ),
  queueTime: histogram("vllm:request_queue_time_seconds", "From submission to admission.", LATENCY),
  inferenceTime: histogram(
    "vllm:request_inference_time_seconds",
    "From admission to the last token.",
    LATENCY,
  ),
  prefillTime: histogram(
    "vllm:request_prefill_time_seconds",
    "From admission to the first token.",
    LATENCY,
  ),
  decodeTime: histogram(
    "vllm:request_decode_time_seconds",
    "From the first token to the last.",
    LATENCY,
  ),
  requestPromptTokens: histogram(
    "vllm:request_prompt_tokens",
    "Prompt tokens per request.",
    TOKENS,
  ),
  requestGeneratedTokens: histogram(
    "vllm:request_generation_tokens",
    "Sampled tokens per request.",
    TOKENS,
  ),
  requestMaxTokens: histogram("vllm:request_params_max_tokens", "max_tokens per request.", TOKENS),
  iterationTokens: histogram("vllm:iteration_tokens_total", "Rows per step.", TOKENS),
} as const satisfies Record<string, MetricRow>;

/** Carry no labels but their own. */
export const SERVER_METRICS = {
  cacheConfig: gauge("vllm:cache_config_info", "The KV cache's shape; the value is 1.", [
    "block_size",
    "num_gpu_blocks",
  ]),
  loraInfo: gauge(
    "vllm:lora_requests_info",
    "Resident and waiting adapters; the value is the time of the last change. One series.",
    ["max_lora", "running_lora_adapters", "waiting_lora_adapters"],
  ),
  spansSent: counter("smore_trace_spans_sent_total", "Spans that the collector took."),
  spansDropped: counter(
    "smore_trace_spans_dropped_total",
    "Spans that no collector got: more than could wait (queue), or not taken (export).",
    ["reason"],
  ),
  refusals: counter(
    "smore_requests_refused_total",
    "Requests and generations that an error answered, by its code.",
    ["reason"],
  ),
  steps: counter("smore_steps_total", "Steps of the engine."),
  rows: counter("smore_rows_total", "Rows computed."),
  sampledRows: counter("smore_sampled_rows_total", "Rows whose logits were computed."),
  basePasses: counter(
    "smore_base_passes_total",
    "Passes over the weights of the base's layers: one per step, whatever the mix of adapters.",
  ),
  adapterRows: counter("smore_adapter_rows_total", "Rows that went through an adapter."),
  engineSeconds: counter("smore_engine_seconds_total", "Time that the engine spent on steps."),
  stepSeconds: histogram(
    "smore_step_seconds",
    "Time from one step's results to the next one's, or from its launch, on the event loop.",
    STEP,
  ),
  expertHits: counter("smore_expert_hits_total", "Expert pages found in memory by a step.", [
    "tier",
  ]),
  expertMisses: counter("smore_expert_misses_total", "Expert pages that a step had to load.", [
    "tier",
  ]),
  expertLoads: counter(
    "smore_expert_loads_total",
    "Expert pages loaded, and trunks: what an adapter has beside them.",
    ["tier"],
  ),
  expertEvictions: counter("smore_expert_evictions_total", "Expert pages evicted.", ["tier"]),
  expertLoadBytes: counter(
    "smore_expert_load_bytes_total",
    "Bytes of the pages and trunks loaded.",
    ["tier"],
  ),
  expertLoadSeconds: counter("smore_expert_load_seconds_total", "Time spent on loading them.", [
    "tier",
  ]),
  graphLaunches: counter(
    "smore_gpu_graph_launches_total",
    "Parts of steps that were put on a GPU as one graph.",
  ),
  graphCaptures: counter("smore_gpu_graph_captures_total", "Graphs made for them."),
  graphUpdates: counter(
    "smore_gpu_graph_updates_total",
    "Kernels of graphs whose arguments were changed before a launch.",
  ),
  graphDirect: counter(
    "smore_gpu_direct_launches_total",
    "Parts of steps whose kernels were put on a GPU one by one, as no graph was worth it.",
  ),
  expertTokens: counter(
    "smore_expert_tokens_total",
    "Tokens routed to each expert of the resident adapters, over all layers and linears.",
    ["adapter", "level", "expert"],
  ),
  adapterRequests: counter(
    "smore_adapter_requests_total",
    "Requests that ended, by adapter. Adapters in memory alone have a series.",
    ["adapter"],
  ),
  adapterTokens: counter(
    "smore_adapter_generated_tokens_total",
    "Tokens sampled, by adapter. Adapters in memory alone have a series.",
    ["adapter"],
  ),
  autoChoices: histogram(
    "smore_auto_choice_seconds",
    "Finding the adapter for a request to the model auto, by what was found: an adapter or the fallback.",
    DELIVERY,
    ["found"],
  ),
  residentBytes: gauge("smore_adapter_resident_bytes", "Adapter memory in use.", ["tier"]),
  residentPages: gauge("smore_adapter_resident_pages", "Expert pages in memory.", ["tier"]),
  residentAdapters: gauge("smore_adapters_resident", "Adapters in memory.", ["tier"]),
  registeredAdapters: gauge("smore_adapters_registered", "Adapters known by name."),
  adapterBudget: gauge("smore_adapter_budget_bytes", "Memory that adapters may use.", ["tier"]),
  weightBytes: gauge("smore_weight_bytes", "Memory of the packed base weights."),
  kvBytes: gauge("smore_kv_bytes", "Memory of the KV cache."),
  certificateEnds: gauge(
    "smore_tls_certificate_end_seconds",
    "When the certificate ends, in seconds since 1970. No series without TLS.",
    ["subject"],
  ),
  cpuSeconds: counter(
    "process_cpu_seconds_total",
    "CPU time of the process, with the engine's threads.",
  ),
  residentMemory: gauge("process_resident_memory_bytes", "Memory of the process."),
  delivery: histogram(
    "smore_token_delivery_seconds",
    "From a token on the engine's thread to its bytes in the client's socket.",
    DELIVERY,
  ),
  hold: histogram(
    "smore_event_loop_hold_seconds",
    "How long one callback of the server held the event loop.",
    HOLD,
    ["callback"],
  ),
  holdCpu: histogram(
    "smore_event_loop_hold_cpu_seconds",
    "What the event loop's thread computed of that; the rest it waited, for a core or the system.",
    HOLD,
    ["callback"],
  ),
} as const satisfies Record<string, MetricRow>;
