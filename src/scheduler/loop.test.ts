import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeEngine, type FakeEngineOptions } from "../engine/fake-engine.js";
import { STATS } from "../engine/native.js";
import { ApiError } from "../errors.js";
import { createLogger } from "../log.js";
import { Metrics } from "../metrics/metrics.js";
import { EngineLoop } from "./loop.js";
import { mixOf } from "./mix.js";
import type { GenerateRequest, Generation, GenerationEvent } from "./request.js";
import { type Job, requestOf } from "./simulation.js";

const plain: Job = {
  prompt: [1, 2, 3],
  mix: mixOf(0),
  maxTokens: 8,
  seed: 0,
  penalties: false,
  ignoreEos: true,
  promptLogprobs: false,
};

const ADAPTER_WAIT_MS = 10_000;

async function start(
  context: TestContext,
  options: FakeEngineOptions = {},
  maxQueue = 100,
  log = createLogger("silent"),
) {
  const engine = new FakeEngine(options);
  const metrics = new Metrics();
  const loop = new EngineLoop({
    engine,
    metrics,
    log,
    queue: { requests: maxQueue, tokens: 10_000 },
    adapterWaitMs: ADAPTER_WAIT_MS,
  });
  const adapters = { size: 8, nameOf: (adapter: number) => `a${adapter}` };
  const { scheduler } = loop;
  const source = { modelName: "base", engine, scheduler, maxLoadedAdapters: 2, adapters };
  await metrics.watch(source);
  const running = loop.run();
  context.after(async () => {
    loop.drain();
    await running;
  });
  return { engine, metrics, loop };
}

/** Submits and collects the events until the last one. */
function collect(loop: EngineLoop, job: Partial<Job>, onEvent?: (event: GenerationEvent) => void) {
  const events: GenerationEvent[] = [];
  let generation: Generation;
  const done = new Promise<GenerationEvent[]>((resolve) => {
    const request: GenerateRequest = {
      ...requestOf({ ...plain, ...job }),
      onEvent: (event) => {
        events.push(event);
        onEvent?.(event);
        if (event.kind === "finish" || event.kind === "error") resolve(events);
      },
    };
    generation = loop.submit(request);
  });
  return { events, done, generation: generation! };
}

const tokensOf = (events: readonly GenerationEvent[]) =>
  events.flatMap((event) => (event.kind === "token" ? [event.token] : []));

test("when the device fails, its requests and later ones end in errors and the server is told once", async (context) => {
  const engine = new FakeEngine({ failingSteps: new Set([1, 2, 3]), failureCode: "device" });
  const reasons: string[] = [];
  const loop = new EngineLoop({
    engine,
    metrics: new Metrics(),
    log: createLogger("silent"),
    queue: { requests: 100, tokens: 10_000 },
    adapterWaitMs: ADAPTER_WAIT_MS,
    onBroken: (reason) => reasons.push(reason),
  });
  const running = loop.run();
  context.after(async () => {
    loop.drain();
    await running;
  });
  for (let i = 0; i < 2; i++) {
    const events = await collect(loop, { prompt: [1, 2], maxTokens: 8 }).done;
    assert.equal(events.at(-1)?.kind, "error");
  }
  assert.deepEqual(reasons, ["step 1 fails"]);
});

test("requests for several adapters get the same tokens together as alone", async (context) => {
  const { loop, engine } = await start(context, { maxPinned: 2 });
  for (let adapter = 1; adapter <= 4; adapter++) await engine.loadAdapter(`a${adapter}`);
  const jobs = Array.from({ length: 32 }, (_, index) => ({
    prompt: [1 + (index % 5), 2, 3],
    mix: mixOf(index % 5),
    maxTokens: 12,
  }));
  const alone: number[][] = [];
  for (const job of jobs) alone.push(tokensOf(await collect(loop, job).done));
  const together = await Promise.all(jobs.map((job) => collect(loop, job).done));
  assert.deepEqual(together.map(tokensOf), alone);
  assert.ok(together.every((events) => tokensOf(events).length === 12));
});

test("who comes while a long step runs is in the very next one", async (context) => {
  const { loop, engine } = await start(context);
  const { pace } = loop.scheduler;
  for (const rows of [1, 5, 20, 60, 9, 33]) {
    const positions = 100 * rows * rows;
    pace.observe({ rows, positions }, 100 + rows + 1e-3 * positions); // so slow that no timer ends here
  }
  const runningAtSteps: number[] = [];
  let end = () => {};
  const first = new Promise<void>((resolve) => {
    end = resolve;
  });
  const step = engine.step.bind(engine);
  engine.step = async (batch) => {
    runningAtSteps.push(loop.scheduler.running.length);
    if (runningAtSteps.length === 1) await first;
    return step(batch);
  };
  const one = collect(loop, { maxTokens: 2 });
  while (runningAtSteps.length === 0) await new Promise(setImmediate);
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  const other = collect(loop, { prompt: [4, 5], maxTokens: 2 });
  end();
  await Promise.all([one.done, other.done]);
  assert.deepEqual(runningAtSteps.slice(0, 2), [1, 2]);
});

test("a full queue refuses with a retry time", async (context) => {
  const { loop } = await start(context, { maxBatch: 1 }, 2);
  const taken = [collect(loop, {}), collect(loop, {}), collect(loop, {})]; // one runs, two wait
  assert.throws(
    () => loop.reserve(1, 3),
    (error) => error instanceof ApiError && error.code === "overloaded" && error.retryAfter === 1,
  );
  await Promise.all(taken.map(({ done }) => done));
});

test("a cancelled generation is in no step but the one that was queued already", async (context) => {
  const { loop, engine } = await start(context);
  const stats = new Float64Array(STATS.length);
  const steps = () => {
    engine.stats(stats);
    return stats[STATS.indexOf("steps")]!;
  };
  let cancelledAt = 0;
  const job = collect(loop, { maxTokens: 200 }, () => {
    if (job.events.length !== 3) return;
    cancelledAt = steps();
    job.generation.cancel();
  });
  while (job.events.length < 3 || !loop.scheduler.idle) await new Promise(setImmediate);
  assert.ok(cancelledAt > 0);
  assert.ok(steps() <= cancelledAt + 1, `${steps() - cancelledAt} steps after it was cancelled`);
});

test("nothing is heard of a cancelled generation, also when its own event cancels it", async (context) => {
  const { loop } = await start(context);
  const other = collect(loop, {});
  const stopping = collect(loop, {}, () => {
    if (stopping.events.length === 3) stopping.generation.cancel("stop");
  });
  const early = collect(loop, {});
  early.generation.cancel();
  await other.done;
  assert.equal(stopping.events.length, 3);
  assert.equal(early.events.length, 0);
});

test("a failed step ends its requests with an error and the loop goes on", async (context) => {
  const { loop } = await start(context, { failingSteps: new Set([2]) });
  const events = await collect(loop, {}).done;
  assert.deepEqual(events.at(-1), {
    kind: "error",
    code: "engine_failed",
    message: "step 2 fails",
  });
  assert.equal(tokensOf(await collect(loop, {}).done).length, 8);
});

test("an adapter that cannot be acquired fails its request; the engine's reason, with its paths, stays in the log", async (context) => {
  const { loop } = await start(context);
  const [last] = await collect(loop, { mix: mixOf(7) }).done;
  const message = "The adapter could not be used.";
  assert.deepEqual(last, { kind: "error", code: "adapter_failed", message });
});

test("a page that cannot be read fails its requests; the log says once which file is at fault", async (context) => {
  const logged: object[] = [];
  const log = createLogger("silent");
  log.error = (line: object) => logged.push(line);
  const fault = "/adapters/a1/adapter_model.safetensors: cannot be read";
  const { loop, engine } = await start(context, { faults: new Map([[1, fault]]) }, 100, log);
  await engine.loadAdapter("a1");
  const origin = { requestId: "two-choices", ended: () => {} };
  const faulty = { mix: mixOf(1), origin };
  const jobs = [faulty, faulty, {}].map((job) => collect(loop, job));
  const [first, second, base] = await Promise.all(jobs.map(({ done }) => done));
  const message = "The adapter could not be used.";
  for (const events of [first, second]) {
    assert.deepEqual(events, [{ kind: "error", code: "adapter_failed", message }]);
  }
  assert.equal(tokensOf(base!).length, 8);
  const requestIds = ["two-choices"];
  assert.deepEqual(logged, [{ adapter: 1, code: "adapter_failed", fault, requestIds }]);
});

test("an adapter that never fits fails instead of waiting for ever", async (context) => {
  const { loop, engine } = await start(context, { maxPinned: 0 });
  await engine.loadAdapter("a1");
  const [last] = await collect(loop, { mix: mixOf(1) }).done;
  assert.ok(last?.kind === "error" && /--adapter-memory/.test(last.message));
});

test("a request may wait for room longer than for its adapter's load", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { loop, engine } = await start(context, { maxPinned: 1 });
  for (const folder of ["a1", "a2"]) await engine.loadAdapter(folder);
  let tokens = 0;
  const long = collect(loop, { mix: mixOf(1), maxTokens: 40 }, () => {
    if (tokens++ === 20) context.mock.timers.tick(10 * ADAPTER_WAIT_MS);
  });
  const other = collect(loop, { mix: mixOf(2) });
  assert.equal(tokensOf(await long.done).length, 40);
  assert.equal(tokensOf(await other.done).length, 8);
});

test("a load that takes too long ends those that wait for it, and each has the whole time", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  let finish = () => {};
  const loads = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const { loop, engine } = await start(context, { loads });
  await engine.loadAdapter("a1");
  const first = collect(loop, { mix: mixOf(1) });
  await collect(loop, {}).done; // by now the engine was asked for the adapter
  context.mock.timers.tick(ADAPTER_WAIT_MS - 1);
  const second = collect(loop, { mix: mixOf(1) });
  context.mock.timers.tick(1);
  const [last] = await first.done;
  assert.ok(last?.kind === "error" && last.code === "adapter_loading");
  assert.match(last.message, /not loaded within 10 s/);
  context.mock.timers.tick(ADAPTER_WAIT_MS - 2);
  finish();
  assert.equal(tokensOf(await second.done).length, 8);
});

test("idle adapters are not pinned", async (context) => {
  const { loop, engine } = await start(context);
  await engine.loadAdapter("a1");
  await collect(loop, { mix: mixOf(1) }).done;
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(engine.pins.size, 0);
});

test("a callback that throws costs its own request alone", async (context) => {
  const { loop } = await start(context);
  loop.submit({
    ...requestOf(plain),
    onEvent: () => {
      throw new Error("a bug in an encoder");
    },
  });
  assert.equal(tokensOf(await collect(loop, {}).done).length, 8);
});

test("slow callbacks are spread over turns of the event loop", async (context) => {
  const { loop } = await start(context);
  let now = performance.now();
  context.mock.method(performance, "now", () => now);
  let turn = 0;
  let counting = true;
  const count = () => {
    turn += 1;
    if (counting) setImmediate(count);
  };
  setImmediate(count);
  const turns = new Map<number, number>(); // and callbacks in each
  const slow = () => {
    now += 0.75;
    turns.set(turn, (turns.get(turn) ?? 0) + 1);
  };
  const streams = Array.from({ length: 8 }, () => collect(loop, { maxTokens: 1 }, slow));
  await Promise.all(streams.map(({ done }) => done));
  counting = false;
  assert.equal(Math.max(...turns.values()), 2, "the second goes over 1 ms");
  assert.equal(turns.size, 8, "16 callbacks");
});

test("a mask that comes late is waited for, also by a request whose whole prompt is cached", async (context) => {
  const { loop, engine } = await start(context);
  const prompt = Array.from({ length: 33 }, (_, i) => 1 + (i % 9)); // all but the last token in pages
  await collect(loop, { prompt, maxTokens: 2 }).done;
  let allow = () => {};
  const made = new Promise<void>((resolve) => {
    allow = resolve;
  });
  const mask = { bits: null as Uint32Array | null, failure: null, made, accept: () => {} };
  const finished = new Promise<GenerationEvent>((resolve) => {
    loop.submit({ ...requestOf({ ...plain, prompt, maxTokens: 1 }), mask, onEvent: resolve });
  });
  while (loop.scheduler.running.length === 0) await new Promise(setImmediate);
  assert.equal(loop.scheduler.running[0]?.cachedTokens, 32);
  mask.bits = new Uint32Array(Math.ceil(engine.info.vocab / 32)).fill(0xffffffff);
  allow();
  assert.equal((await finished).kind, "token");
});

test("draining finishes what runs and refuses what comes", async (context) => {
  const { loop } = await start(context);
  const running = collect(loop, { maxTokens: 30 });
  loop.drain();
  assert.throws(
    () => loop.submit(requestOf(plain)),
    (error) => error instanceof ApiError && error.code === "draining",
  );
  assert.equal(tokensOf(await running.done).length, 30);
});

test("metrics tell what happened in the names that routers read", async (context) => {
  const { loop, engine, metrics } = await start(context);
  await engine.loadAdapter("a1");
  await collect(loop, { mix: mixOf(1) }).done;
  const stopped = collect(loop, {}, () => stopped.generation.cancel("stop"));
  await collect(loop, {}).done;
  const text = await metrics.text();
  const has = (line: string) => assert.ok(text.includes(`${line}\n`), line);
  has('vllm:num_requests_running{model_name="base",engine="0"} 0');
  has('vllm:generation_tokens_total{model_name="base",engine="0"} 17');
  has('vllm:request_success_total{finished_reason="length",model_name="base",engine="0"} 2');
  has('vllm:request_success_total{finished_reason="stop",model_name="base",engine="0"} 1');
  has('vllm:time_to_first_token_seconds_count{model_name="base",engine="0"} 3');
  has('vllm:cache_config_info{block_size="16",num_gpu_blocks="64"} 1');
  has(`smore_base_passes_total ${engine.steps}`);
  const series = text.match(/^vllm:lora_requests_info\{.*$/gm);
  assert.equal(series?.length, 1);
  assert.match(series[0] ?? "", /max_lora="2",running_lora_adapters="",waiting_lora_adapters=""/);
});
