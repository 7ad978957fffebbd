import type { GenerationLife } from "../scheduler/request.js";
import type { SpanName } from "./trace-context.js";

/** Spans, as this server makes them; open-telemetry.ts is what records them. */

export type Attributes = Readonly<Record<string, string | number | boolean | readonly string[]>>;

/** A span that has begun. Times are milliseconds of performance.now(). */
export interface OpenSpan {
  readonly name: SpanName;
  /** Begins a span below it. */
  begin(what: string, from: number, attributes?: Attributes): OpenSpan;
  end(to: number, attributes?: Attributes, failed?: boolean): void;
}

export interface Tracing {
  /** A request from outside, below the caller's span where it has one. */
  request(what: string, from: number, parent: SpanName | null, attributes: Attributes): OpenSpan;
  /** A step of the engine, which belongs to no request. */
  step(from: number, to: number, attributes: Attributes): void;
  /** Sends what waits, for a bounded time. */
  close(): Promise<void>;
}

/** What a generation is called and asks for, in OpenTelemetry's words for generative models. */
export interface Operation {
  readonly kind: "chat" | "text_completion" | "embeddings";
  readonly model: string;
  /** Those that it goes through; none for the base alone. */
  readonly adapters: readonly string[];
}

/** A generation below the request that asked for it, with its phases: queue, prefill, decode. */
export function recordGeneration(
  request: OpenSpan,
  { kind, model, adapters }: Operation,
  life: GenerationLife,
): void {
  const { submitted, admitted, firstToken, lastToken, ended } = life;
  const who = adapters.length === 0 ? {} : { "smore.adapter": adapters.join(",") };
  const span = request.begin(`${kind} ${model}`, submitted, {
    "gen_ai.operation.name": kind,
    "gen_ai.request.model": model,
    "gen_ai.request.max_tokens": life.maxTokens,
    ...who,
  });
  const phase = (what: string, from: number, to: number, attributes: Attributes) =>
    span.begin(what, from).end(to, { ...who, ...attributes });
  phase("queue", submitted, admitted ?? ended, {});
  if (admitted !== null) {
    phase("prefill", admitted, firstToken ?? ended, {
      "gen_ai.usage.input_tokens": life.promptTokens,
      "gen_ai.usage.cache_read.input_tokens": life.cachedTokens,
    });
  }
  if (firstToken !== null) {
    phase("decode", firstToken, lastToken, { "gen_ai.usage.output_tokens": life.outputTokens });
  }
  const usage = {
    "gen_ai.usage.input_tokens": life.promptTokens,
    "gen_ai.usage.cache_read.input_tokens": life.cachedTokens,
    "gen_ai.usage.output_tokens": life.outputTokens,
    "gen_ai.response.finish_reasons": [life.reason],
  };
  span.end(ended, usage, life.reason === "error");
}
