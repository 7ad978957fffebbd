import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeEngine } from "../engine/fake-engine.js";
import { createLogger } from "../log.js";
import { EngineLoop } from "../scheduler/loop.js";
import { mixOf } from "../scheduler/mix.js";
import { type Job, requestOf } from "../scheduler/simulation.js";
import { Metrics } from "./metrics.js";
import { MODEL_METRICS, SERVER_METRICS } from "./table.js";

/** An engine that keeps every adapter in memory, and counts how often it is asked about one. */
class CountedEngine extends FakeEngine {
  looks = 0;

  override adapterPlace() {
    this.looks += 1;
    return { resident: true, residentBytes: 0, hits: 0, misses: 0, fault: "" };
  }
}

/** A server with `registered` adapters, two of which were used, after requests by `jobs`. */
async function watched(context: TestContext, registered: number, jobs: readonly Partial<Job>[]) {
  const engine = new CountedEngine({ maxPinned: 2 });
  const metrics = new Metrics();
  const loop = new EngineLoop({
    engine,
    metrics,
    log: createLogger("silent"),
    queue: { requests: 100, tokens: 10_000 },
    adapterWaitMs: 10_000,
  });
  for (let adapter = 1; adapter <= registered; adapter++) await engine.loadAdapter(`a${adapter}`);
  let names = 0;
  const adapters = {
    size: registered,
    nameOf: (adapter: number) => {
      names += 1;
      return `adapter-${adapter}`;
    },
  };
  const { scheduler } = loop;
  const source = { modelName: "base", engine, scheduler, maxLoadedAdapters: 2, adapters };
  await metrics.watch(source);
  const running = loop.run();
  context.after(async () => {
    loop.drain();
    await running;
  });
  for (const job of jobs) {
    await new Promise<void>((resolve) => {
      const plain = { prompt: [1, 2], maxTokens: 4, seed: 0, mix: mixOf(0) };
      const rest = { penalties: false, ignoreEos: true, promptLogprobs: false };
      const onEvent = ({ kind }: { kind: string }) => kind === "finish" && resolve();
      loop.submit({ ...requestOf({ ...plain, ...rest, ...job }), onEvent });
    });
  }
  const scrape = async () => {
    [engine.looks, names] = [0, 0];
    const text = await metrics.text();
    return { text, asked: engine.looks + names };
  };
  return { loop, scrape };
}

const series = (text: string) =>
  text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.slice(0, line.lastIndexOf(" ")));

test("a scrape asks about and tells of the adapters in memory alone, however many are registered", async (context) => {
  const jobs = [{ mix: mixOf(1) }, { mix: mixOf(2) }, {}];
  const [few, many] = await Promise.all(
    [2, 5000].map(async (count) => (await watched(context, count, jobs)).scrape()),
  );
  assert.equal(many?.asked, few?.asked);
  assert.deepEqual(series(many?.text ?? ""), series(few?.text ?? ""));
  assert.match(many?.text ?? "", /^smore_adapters_registered 5000$/m);
});

test("what went through an adapter is counted by its name, while it is in memory", async (context) => {
  const jobs = [
    { mix: mixOf(1) },
    { mix: mixOf(2), maxTokens: 7 },
    { mix: mixOf(1), maxTokens: 3 },
    {},
  ];
  const { loop, scrape } = await watched(context, 3, jobs);
  const { text } = await scrape();
  const use = text.split("\n").filter((line) => /^smore_adapter_(requests|generated)/.test(line));
  assert.deepEqual(use, [
    'smore_adapter_requests_total{adapter="adapter-1"} 2',
    'smore_adapter_requests_total{adapter="adapter-2"} 1',
    'smore_adapter_generated_tokens_total{adapter="adapter-1"} 7',
    'smore_adapter_generated_tokens_total{adapter="adapter-2"} 7',
  ]);
  loop.retire(1);
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  assert.equal((await scrape()).text.includes("adapter-1"), false);
});

test("what routers read is one series each", async (context) => {
  const { scrape } = await watched(context, 3, [{ mix: mixOf(1) }, { mix: mixOf(2) }]);
  const names = series((await scrape()).text).map((line) => line.split("{")[0]);
  for (const { name } of [
    MODEL_METRICS.running,
    MODEL_METRICS.waiting,
    MODEL_METRICS.kvUsage,
    SERVER_METRICS.loraInfo,
    SERVER_METRICS.cacheConfig,
  ]) {
    assert.equal(names.filter((other) => other === name).length, 1, name);
  }
});

test("no two metrics share a name, and names say what they are", () => {
  const rows = Object.values({ ...MODEL_METRICS, ...SERVER_METRICS });
  assert.equal(new Set(rows.map(({ name }) => name)).size, rows.length);
  for (const { kind, name, help } of rows) {
    if (kind === "counter") assert.match(name, /_total$/);
    if (kind === "gauge") assert.doesNotMatch(name, /_total$/);
    assert.match(help, /\.$/, name);
  }
});
