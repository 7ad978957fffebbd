import { ExportResultCode } from "@opentelemetry/core";
import type { ReadableSpan, SpanExporter, SpanProcessor } from "@opentelemetry/sdk-trace";
import { entered } from "../hold.js";

export interface SpanQueueOptions {
  readonly exporter: SpanExporter;
  /** What a collector may take for a message, to the end of its answer. */
  readonly timeoutMs: number;
  /** Ends the connection of a message that has no whole answer by then: an exporter waits as long as one goes on. */
  readonly abort: () => void;
  /** Hears of spans that were sent, and of those that no collector will get. */
  readonly sent: (spans: number) => void;
  readonly dropped: (reason: DropReason, spans: number) => void;
  readonly log: { warn(fields: object, message: string): void };
  /** Milliseconds; performance.now() unless a test tells the time. */
  readonly now?: () => number;
}

/** queue: more were made than could be sent; export: the collector did not take them. */
export type DropReason = "queue" | "export";

/** Spans that wait; what comes beyond is dropped. */
export const MOST_WAITING = 4096;

/** Spans in one message, at first and at most: as many as encode in about a millisecond. */
export const BATCHES = { first: 8, most: 64 };

/** Messages that took less to encode may grow; those that took more shrink. In seconds. */
const SHORT = 0.001;
const LONG = 0.002;

/** What is not a whole batch waits for more. */
const GATHER_MS = 1000;

/** What waits at the end of the server is given so long. */
const CLOSE_MS = 2000;

/**
 * Ended spans on their way to the collector: a bounded queue and one message at a time, so that neither
 * many spans nor a collector that is slow or gone can hold up the server.
 */
export class SpanQueue implements SpanProcessor {
  readonly #options: SpanQueueOptions;
  readonly #waiting: ReadableSpan[] = [];
  #batch = BATCHES.first;
  #soon = false;
  #sending = false;
  #failing = false;
  #timer: NodeJS.Timeout | undefined;
  /** Who wants to know when nothing waits any more. */
  readonly #flushing: (() => void)[] = [];

  constructor(options: SpanQueueOptions) {
    this.#options = options;
  }

  /** The first message loads what sending takes, and tells at once when nobody is there to take it. */
  warm(): Promise<void> {
    return new Promise((resolve) => {
      this.#options.exporter.export([], ({ code, error }) => {
        if (code !== ExportResultCode.SUCCESS) this.#warn(error?.message ?? "");
        resolve();
      });
    });
  }

  onStart(): void {}

  onEnd(span: ReadableSpan): void {
    if (this.#waiting.length >= MOST_WAITING) {
      this.#options.dropped("queue", 1);
      return;
    }
    this.#waiting.push(span);
    if (this.#waiting.length >= this.#batch) this.#sendSoon();
    else if (!this.#sending) this.#gather();
  }

  async forceFlush(): Promise<void> {
    if (this.#waiting.length === 0 && !this.#sending) return;
    const emptied = new Promise<void>((resolve) => {
      this.#flushing.push(resolve);
    });
    this.#sendSoon();
    await emptied;
  }

  shutdown(): Promise<void> {
    return this.close();
  }

  /** Sends what waits if the collector takes it in time. */
  async close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_MS);
    });
    const sent = this.forceFlush().then(() => this.#options.exporter.shutdown());
    await Promise.race([sent, late]);
    clearTimeout(timer);
    this.#options.dropped("queue", this.#waiting.splice(0).length);
  }

  /** In a turn of the event loop of its own: spans end within callbacks that have other things to do. */
  #sendSoon(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#soon || this.#sending) return;
    this.#soon = true;
    setImmediate(() => {
      this.#soon = false;
      this.#send();
    });
  }

  #send(): void {
    entered("telemetry");
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#sending) return;
    const batch = this.#waiting.splice(0, this.#batch);
    if (batch.length === 0) return;
    this.#sending = true;
    const { exporter, timeoutMs, abort, now = () => performance.now() } = this.#options;
    const began = now();
    let ended = false;
    const end = (fault: string | null) => {
      if (ended) return;
      ended = true;
      clearTimeout(deadline);
      this.#sending = false;
      this.#told(batch.length, fault);
      this.#goOn();
    };
    const deadline = setTimeout(() => {
      end(`no answer within ${timeoutMs} ms`);
      abort();
    }, timeoutMs).unref();
    exporter.export(batch, ({ code, error }) => {
      end(code === ExportResultCode.SUCCESS ? null : (error?.message ?? ""));
    });
    this.#fitBatch((now() - began) / 1000);
  }

  #fitBatch(seconds: number): void {
    if (seconds < SHORT) this.#batch = Math.min(2 * this.#batch, BATCHES.most);
    if (seconds > LONG) this.#batch = Math.max(this.#batch / 2, BATCHES.first);
  }

  #goOn(): void {
    if (this.#waiting.length === 0) {
      for (const emptied of this.#flushing.splice(0)) emptied();
    } else if (this.#waiting.length >= this.#batch || this.#flushing.length > 0) {
      this.#sendSoon();
    } else {
      this.#gather();
    }
  }

  #gather(): void {
    this.#timer ??= setTimeout(() => this.#send(), GATHER_MS).unref();
  }

  /** One line when the collector stops taking spans, and none until it has taken some again. */
  #told(spans: number, fault: string | null): void {
    if (fault === null) {
      this.#options.sent(spans);
    } else {
      this.#options.dropped("export", spans);
      this.#warn(fault);
    }
    this.#failing = fault !== null;
  }

  #warn(reason: string): void {
    if (!this.#failing) this.#options.log.warn({ reason }, "traces cannot be sent");
    this.#failing = true;
  }
}
