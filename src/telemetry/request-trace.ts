import { ERRORS, type ErrorCode } from "../errors.js";
import type { Mix } from "../scheduler/mix.js";
import type { GenerateRequest, Generator, Origin } from "../scheduler/request.js";
import { type SpanName, traceparent, unrecordedChild } from "./trace-context.js";
import {
  type Attributes,
  type OpenSpan,
  type Operation,
  recordGeneration,
  type Tracing,
} from "./tracing.js";

const NO_HEADERS: readonly [] = [];

/** What the log and the trace call one request. Nothing is recorded unless `record` was called. */
export class RequestTrace {
  readonly requestId: string;
  readonly #parent: SpanName | null;
  /** The span that the answer names. */
  #name: SpanName | null;
  #span: OpenSpan | null = null;

  /** `parent`: the span of the caller. */
  constructor(requestId: string, parent: SpanName | null) {
    this.requestId = requestId;
    this.#parent = parent;
    this.#name = parent === null ? null : unrecordedChild(parent);
  }

  /** What the answer's headers name; none where nobody asked for a trace and none is made. */
  get headers(): readonly (readonly [name: string, value: string])[] {
    const name = this.#name;
    if (name === null) return NO_HEADERS;
    const own = ["traceparent", traceparent(name)] as const;
    return name.state === "" ? [own] : [own, ["tracestate", name.state]];
  }

  /** What every line of the log says about the request. */
  get facts(): { readonly requestId: string; readonly traceId?: string } {
    const { requestId } = this;
    return this.#name === null ? { requestId } : { requestId, traceId: this.#name.traceId };
  }

  /** `from`: milliseconds of performance.now(). */
  record(tracing: Tracing, what: string, from: number, attributes: Attributes): void {
    const named = { ...attributes, "smore.request_id": this.requestId };
    this.#span = tracing.request(what, from, this.#parent, named);
    this.#name = this.#span.name;
  }

  /** The same generator, whose generations tell this trace how they went. */
  follow(generator: Generator, operationOf: (mix: Mix) => Operation): Generator {
    const span = this.#span;
    const { requestId } = this;
    let reserved: number | null = null;
    const originOf = ({ mix }: GenerateRequest): Origin => {
      if (span === null) return { requestId, ended: () => {} };
      const operation = operationOf(mix); // now: an adapter may be gone when it has ended
      return { requestId, ended: (life) => recordGeneration(span, operation, life) };
    };
    return {
      reserve: (requests, tokens) => {
        reserved ??= performance.now();
        return generator.reserve(requests, tokens);
      },
      submit: (request) => {
        // Room is taken just before prompts are tokenized, and grammars compiled beside them.
        if (reserved !== null) span?.begin("tokenize", reserved).end(performance.now());
        reserved = null;
        return generator.submit({ ...request, origin: originOf(request) });
      },
    };
  }

  /** `refusal`: the error that answered it. Those that are the client's fault are no failures of the span. */
  end(attributes: Attributes, refusal: ErrorCode | null): void {
    const told = refusal === null ? attributes : { ...attributes, "error.type": refusal };
    const failed = refusal !== null && ERRORS[refusal].status >= 500;
    this.#span?.end(performance.now(), told, failed);
    this.#span = null;
  }
}
