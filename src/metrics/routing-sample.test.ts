import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeGenerator } from "../engine/fake.js";
import { fakeAdapterInfo } from "../engine/fake-engine.js";
import type { NativeAdapterInfo } from "../engine/native.js";
import { NO_CARD } from "../models/card.js";
import { type Mix, mixOf } from "../scheduler/mix.js";
import { type GenerateRequest, type GenerationEvent, GREEDY } from "../scheduler/request.js";
import { finished } from "../turns.js";
import { RoutingSample } from "./routing-sample.js";

const LINEARS = [0, 1, 1].map((layer, i) => ({
  layer,
  name: ["up_proj", "up_proj", "down_proj"][i]!,
}));
const TREE = [
  { experts: 4, active: 2 },
  { experts: 3, active: 1 },
];
const PAIRS = 3 * (2 + 1);

function infoOf(handle: number): NativeAdapterInfo | undefined {
  if (handle === 9) return undefined;
  const tree = handle === 5 ? [] : TREE;
  return { ...fakeAdapterInfo(handle), tree, linears: LINEARS };
}

function create() {
  const engine = new FakeGenerator({ reply: () => "abcd" });
  const sample = new RoutingSample(infoOf);
  const generator = sample.follow(engine, "cpu");
  const run = (mix: Mix, more: Partial<GenerateRequest> = {}) =>
    new Promise<GenerationEvent[]>((resolve) => {
      const events: GenerationEvent[] = [];
      generator.submit({
        ...{ prompt: [1], mix, priority: 0, sampling: GREEDY, maxTokens: 4, stopTokens: new Set() },
        ...{ ignoreEos: true, logprobs: null, promptLogprobs: null, pooled: false, mask: null },
        routes: null,
        onEvent: (event) => {
          events.push(event);
          if (event.kind === "finish") resolve(events);
        },
        ...more,
      });
    });
  return { engine, sample, generator, run };
}

test("the first generation of an adapter and then one in sixteen is looked at, and its client does not see it", async () => {
  const { engine, sample, run } = create();
  for (let i = 0; i < 33; i++) {
    const events = await run(mixOf(1));
    assert.equal(events.length, 5);
    for (const event of events) {
      if (event.kind === "token" || event.kind === "finish") assert.equal(event.routes, null);
    }
  }
  const looked = engine.requests.flatMap(({ routes }, i) => (routes === null ? [] : [i]));
  assert.deepEqual(looked, [0, 16, 32]);
  assert.deepEqual(engine.requests[0]!.routes, { layers: [0, 1], pairs: PAIRS });
  const { generations, tokens, layers } = sample.of(1)!;
  assert.deepEqual([generations, tokens, layers], [3, 12, [0, 1]]);
});

test("traces are by level and linear, an expert once for each token", async () => {
  const { sample, run } = create();
  await run(mixOf(1));
  // The fake model's routes count up: leaves 0 1, root 2 of the first linear, then 3 4 and 5, then 6 7 and 8.
  const each = (experts: readonly number[]) => [Array.from({ length: 4 }, () => experts)];
  const traces = (level: number) => finished(sample.of(1)!.traces(level));
  assert.deepEqual(traces(0), [each([0, 1]), each([3, 4]), each([6, 7])]);
  assert.deepEqual(traces(1), [each([2]), each([5]), each([8])]);
});

test("traces are made in steps, of the generations that were there before the first", async () => {
  const { sample, run } = create();
  for (let i = 0; i < 17; i++) await run(mixOf(1));
  const work = sample.of(1)!.traces(0);
  let steps = 0;
  for (;;) {
    const step = work.next();
    if (step.done === true) {
      assert.deepEqual(
        step.value.map((traces) => traces.length),
        [2, 2, 2],
      );
      break;
    }
    steps += 1;
    for (let i = 0; i < 16; i++) await run(mixOf(1));
  }
  assert.equal(steps, 3 * 2);
  assert.equal(sample.of(1)!.generations, 2 + steps);
});

test("nothing is looked at where there are no routers, or where they do not do as they were trained", async () => {
  const { engine, sample, run } = create();
  const own = { handle: 1, scale: 1, temperature: 1, bans: [] };
  await run(mixOf(0));
  await run(mixOf(5)); // plain LoRA
  await run(mixOf(9)); // gone
  await run([{ ...own, temperature: 2 }]);
  await run([{ ...own, bans: [{ level: 0, expert: 1 }] }]);
  await run([own, { ...own, handle: 2 }]);
  assert.ok(engine.requests.every(({ routes }) => routes === null));
  const routes = { layers: [1], pairs: 6 };
  const events = await run(mixOf(1), { routes });
  assert.deepEqual(engine.requests.at(-1)!.routes, routes);
  assert.ok(events.some((event) => event.kind === "token" && event.routes !== null));
  assert.equal(sample.of(1), null);
});

test("what was computed before a client left is kept, and an adapter that is gone is forgotten", async () => {
  const { sample, generator } = create();
  await new Promise<void>((resolve) => {
    const generation = generator.submit({
      ...{ prompt: [1], mix: mixOf(1), priority: 0, sampling: GREEDY, maxTokens: 400 },
      ...{ stopTokens: new Set(), ignoreEos: true, logprobs: null, promptLogprobs: null },
      ...{ pooled: false, mask: null, routes: null },
      onEvent: () => {
        generation.cancel();
        resolve();
      },
    });
  });
  assert.deepEqual([sample.of(1)?.generations, sample.of(1)?.tokens], [1, 1]);
  const place = { name: "a", parent: "fake", root: "/a", created: 0, pinned: false, card: NO_CARD };
  sample.retired({ ...place, adapter: 1, info: infoOf(1)! });
  assert.equal(sample.of(1), null);
});

test("of more adapters than are kept, one generation in sixteen of each is looked at all the same", async () => {
  const { engine, run } = create();
  for (let round = 0; round < 17; round++) {
    for (let handle = 10; handle < 30; handle++) await run(mixOf(handle));
  }
  const looked = engine.requests.flatMap(({ routes }, i) =>
    routes === null ? [] : [(i / 20) | 0],
  );
  assert.deepEqual(looked, [...Array(20).fill(0), ...Array(20).fill(16)]);
});

test("nothing is looked at on a device that would wait for it", () => {
  const { engine, sample } = create();
  assert.equal(sample.follow(engine, "cuda:0"), engine);
});

test("memory is bounded: old generations leave, then adapters, and of a large one some layers are looked at", async () => {
  const { sample, run } = create();
  for (let handle = 10; handle < 27; handle++) await run(mixOf(handle));
  assert.equal(sample.of(10), null);
  assert.notEqual(sample.of(11), null);
  const many = Array.from({ length: 60 }, (_, layer) => ({ layer, name: "up_proj" }));
  const wide = new RoutingSample(() => ({
    ...fakeAdapterInfo(1),
    tree: [{ experts: 64, active: 32 }],
    linears: many,
  }));
  const engine = new FakeGenerator();
  wide.follow(engine, "cpu").submit({
    ...{ prompt: [1], mix: mixOf(1), priority: 0, sampling: GREEDY, maxTokens: 1 },
    ...{ stopTokens: new Set(), ignoreEos: true, logprobs: null, promptLogprobs: null },
    ...{ pooled: false, mask: null, routes: null, onEvent: () => {} },
  });
  const { layers, pairs } = engine.requests[0]!.routes!;
  assert.ok(pairs <= 1024 && layers.length === pairs / 32);
  assert.deepEqual(layers.slice(0, 3), [0, 2, 4]);
});
