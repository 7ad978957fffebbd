import type { GenerationEvent } from "../scheduler/request.js";
import type { Sequence } from "../scheduler/sequence.js";
import type { EndReason, Metrics } from "./metrics.js";

/** The times of one request, in milliseconds of performance.now(). */
export class RequestClock {
  readonly #metrics: Metrics;
  readonly #submitted: number;
  #admitted: number | null = null;
  #firstToken: number | null = null;
  #lastToken = 0;

  constructor(metrics: Metrics, now: number) {
    this.#metrics = metrics;
    this.#submitted = now;
  }

  /** A preempted request that comes back was admitted before. */
  admitted(sequence: Sequence, now: number): void {
    if (this.#admitted !== null) return;
    this.#admitted = now;
    this.#metrics.admitted(sequence.promptLength, sequence.cachedTokens ?? 0);
  }

  event(sequence: Sequence, event: GenerationEvent, now: number): void {
    if (event.kind === "token") this.#token(sequence, now);
    if (event.kind === "finish") {
      if (event.stopToken !== null) this.#token(sequence, now);
      this.ended(sequence, event.reason, now);
    }
    if (event.kind === "error") this.ended(sequence, "error", now);
  }

  ended(sequence: Sequence, reason: EndReason, now: number): void {
    const admitted = this.#admitted ?? now;
    const first = this.#firstToken;
    const tokens = {
      promptTokens: sequence.promptLength,
      cachedTokens: sequence.cachedTokens ?? 0,
      maxTokens: sequence.request.maxTokens,
    };
    this.#metrics.requestEnded({
      ...tokens,
      reason,
      generatedTokens: sequence.outputLength,
      queued: (admitted - this.#submitted) / 1000,
      prefill: first === null ? null : (first - admitted) / 1000,
      decode: first === null ? 0 : (this.#lastToken - first) / 1000,
    });
    this.#metrics.adapterUse.ended(sequence.adapters);
    sequence.request.origin?.ended({
      ...tokens,
      submitted: this.#submitted,
      admitted: this.#admitted,
      firstToken: first,
      lastToken: this.#lastToken,
      ended: now,
      reason,
      outputTokens: sequence.outputLength,
    });
  }

  #token(sequence: Sequence, now: number): void {
    this.#metrics.adapterUse.token(sequence.adapters);
    if (this.#firstToken === null) {
      this.#firstToken = now;
      this.#metrics.firstToken((now - this.#submitted) / 1000);
    } else {
      this.#metrics.nextToken((now - this.#lastToken) / 1000);
    }
    this.#lastToken = now;
  }
}
