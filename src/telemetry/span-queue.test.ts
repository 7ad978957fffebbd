import assert from "node:assert/strict";
import { test } from "node:test";
import { type ExportResult, ExportResultCode } from "@opentelemetry/core";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import { hearHolds } from "../hold.js";
import { BATCHES, MOST_WAITING, SpanQueue } from "./span-queue.js";

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

const BATCH = BATCHES.first;
const TIMEOUT_MS = 10_000;

/** A queue before a collector that answers when it is told to; encoding a span takes `encodingMs`. */
function queueBeforeCollector(encodingMs = 0.3) {
  let time = 0;
  const messages: ReadableSpan[][] = [];
  const counts = { sent: 0, queue: 0, export: 0, aborted: 0, closed: 0 };
  const warnings: string[] = [];
  let answer: ((result: ExportResult) => void) | null = null;
  const queue = new SpanQueue({
    exporter: {
      export(spans, done) {
        assert.equal(answer, null, "one message at a time");
        messages.push(spans);
        time += encodingMs * spans.length;
        answer = done;
      },
      async shutdown() {
        counts.closed += 1;
      },
    },
    timeoutMs: TIMEOUT_MS,
    abort: () => {
      counts.aborted += 1;
    },
    sent: (spans) => {
      counts.sent += spans;
    },
    dropped: (reason, spans) => {
      counts[reason] += spans;
    },
    log: { warn: (_, message) => warnings.push(message) },
    now: () => time,
  });
  /** What the collector said to the message in flight, for whenever it is heard. */
  const takeAnswer = () => {
    const done = answer;
    answer = null;
    assert.ok(done, "the collector was asked");
    return done;
  };
  const collectorAnswers = async (code: ExportResultCode) => {
    takeAnswer()({ code });
    await turn();
    await turn();
  };
  const end = (spans: number) => {
    for (let span = 0; span < spans; span++) queue.onEnd({ name: String(span) } as ReadableSpan);
  };
  const pace = (ms: number) => {
    encodingMs = ms;
  };
  return { queue, messages, counts, warnings, collectorAnswers, takeAnswer, end, pace };
}

test("a message holds at most a batch, and the next one waits for the answer", async (context) => {
  const { messages, counts, collectorAnswers, end } = queueBeforeCollector();
  let held = 0;
  const heard = (callback: string) => {
    if (callback === "telemetry") held += 1;
  };
  hearHolds({ heard, cpuSeconds: () => 0 });
  context.after(() => hearHolds(null));
  end(2 * BATCH + 1);
  assert.equal(messages.length, 0, "nothing is encoded in the callback that ended a span");
  await turn();
  assert.deepEqual(
    messages.map(({ length }) => length),
    [BATCH],
  );
  await collectorAnswers(ExportResultCode.SUCCESS);
  await collectorAnswers(ExportResultCode.SUCCESS);
  assert.deepEqual(
    messages.map(({ length }) => length),
    [BATCH, BATCH],
    "what is left waits for more",
  );
  assert.deepEqual([counts.sent, counts.queue, counts.export], [2 * BATCH, 0, 0]);
  assert.equal(held, messages.length, "each message's time on the event loop is observed");
});

test("messages grow while they are quickly encoded, and shrink when they are not", async () => {
  const { messages, collectorAnswers, end, pace } = queueBeforeCollector(0.004);
  end(MOST_WAITING);
  await turn();
  for (let answer = 0; answer < 7; answer++) await collectorAnswers(ExportResultCode.SUCCESS);
  pace(0.1);
  for (let answer = 0; answer < 5; answer++) await collectorAnswers(ExportResultCode.SUCCESS);
  assert.deepEqual(
    messages.map(({ length }) => length),
    [8, 16, 32, 64, 64, 64, 64, 64, 64, 32, 16, 16, 16],
  );
});

test("what is more than can wait is dropped and counted", async () => {
  const { counts, collectorAnswers, end, messages } = queueBeforeCollector();
  end(MOST_WAITING + 10);
  assert.equal(counts.queue, 10);
  await turn();
  end(BATCH);
  assert.equal(counts.queue, 10, "a message in flight made room");
  end(1);
  assert.equal(counts.queue, 11);
  assert.equal(messages.length, 1);
  await collectorAnswers(ExportResultCode.SUCCESS);
  assert.equal(messages.length, 2);
});

test("a collector that does not take spans is told of once, until it takes some again", async () => {
  const { counts, warnings, collectorAnswers, end } = queueBeforeCollector();
  const { FAILED, SUCCESS } = ExportResultCode;
  end(5 * BATCH);
  await turn();
  for (const code of [FAILED, FAILED, SUCCESS, FAILED, FAILED]) await collectorAnswers(code);
  assert.deepEqual([counts.sent, counts.export, counts.queue], [BATCH, 4 * BATCH, 0]);
  assert.deepEqual(warnings, ["traces cannot be sent", "traces cannot be sent"]);
});

test("an answer that does not end is given up, and the next message goes out", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { messages, counts, warnings, collectorAnswers, takeAnswer, end } = queueBeforeCollector();
  end(2 * BATCH);
  await turn();
  const late = takeAnswer();
  context.mock.timers.tick(TIMEOUT_MS - 1);
  assert.deepEqual([counts.export, counts.aborted, messages.length], [0, 0, 1]);
  context.mock.timers.tick(1);
  await turn();
  await turn();
  assert.deepEqual([counts.export, counts.aborted, messages.length], [BATCH, 1, 2]);
  assert.deepEqual(warnings, ["traces cannot be sent"]);
  late({ code: ExportResultCode.SUCCESS });
  await turn();
  assert.deepEqual([counts.sent, messages.length], [0, 2], "what comes late counts no more");
  await collectorAnswers(ExportResultCode.SUCCESS);
  assert.equal(counts.sent, messages[1]!.length);
  context.mock.timers.tick(TIMEOUT_MS);
  assert.deepEqual([counts.export, counts.aborted], [BATCH, 1], "an answered one has no deadline");
});

test("closing sends what waits", async () => {
  const { queue, messages, counts, collectorAnswers, end } = queueBeforeCollector();
  end(3);
  const closed = queue.close();
  await turn();
  assert.deepEqual(
    messages.map(({ length }) => length),
    [3],
  );
  await collectorAnswers(ExportResultCode.SUCCESS);
  await closed;
  assert.deepEqual([counts.sent, counts.queue, counts.closed], [3, 0, 1]);
});

test("all who flush are told when the last message was taken", async () => {
  const { queue, counts, collectorAnswers, end } = queueBeforeCollector();
  let told = 0;
  const flush = () => queue.forceFlush().then(() => told++);
  end(3);
  const flushed = [flush(), flush()];
  await turn();
  flushed.push(flush());
  await collectorAnswers(ExportResultCode.SUCCESS);
  assert.equal(told, flushed.length);
  assert.equal(counts.sent, 3);
});

test("closing does not wait for a collector that is silent", async () => {
  const { queue, counts, end } = queueBeforeCollector();
  end(BATCH + 3);
  await turn();
  await queue.close();
  assert.deepEqual([counts.sent, counts.queue, counts.closed], [0, 3, 0]);
});
