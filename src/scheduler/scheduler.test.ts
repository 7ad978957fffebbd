import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { digestOf, routeOf } from "../engine/fake-engine.js";
import { ApiError } from "../errors.js";
import { type Ban, type Mix, mixOf } from "./mix.js";
import type { GenerationEvent } from "./request.js";
import type { Sequence } from "./sequence.js";
import {
  generateAlone,
  type Job,
  type Machine,
  plain,
  requestOf,
  roomy,
  Simulation,
} from "./simulation.js";
import { masksInWork } from "./token-mask.js";

const machines: fc.Arbitrary<Machine> = fc.record({
  maxBatch: fc.integer({ min: 1, max: 6 }),
  maxRows: fc.integer({ min: 6, max: 64 }),
  pages: fc.integer({ min: 6, max: 9 }), // the longest request needs 6
  maxPinned: fc.integer({ min: 1, max: 3 }),
});

/** Few distinct beginnings, so that prefixes are shared often. */
const prompts = fc
  .tuple(
    fc.constantFrom<number[]>(
      [],
      Array.from({ length: 16 }, (_, index) => index),
      Array.from({ length: 33 }, (_, index) => index),
    ),
    fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 20 }),
  )
  .map(([common, own]) => [...common, ...own]);

/** One adapter or none mostly; else several, some with scales and controlled routers. */
const mixes: fc.Arbitrary<Mix> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(0, 0, 0, 1, 1, 2, 3).map(mixOf) },
  {
    weight: 1,
    arbitrary: fc
      .uniqueArray(
        fc.record({
          handle: fc.integer({ min: 1, max: 3 }),
          scale: fc.constantFrom(1, 1, 0.5, -2),
          temperature: fc.constantFrom(1, 1, 0.25),
          bans: fc.constantFrom<Ban[]>([], [], [{ level: 0, expert: 2 }]),
        }),
        { selector: ({ handle }) => handle, minLength: 1 },
      )
      .map((adapters) => adapters.toSorted((a, b) => a.handle - b.handle)),
  },
);

const jobs: fc.Arbitrary<Job> = fc.record({
  prompt: prompts,
  mix: mixes,
  maxTokens: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 20, max: 40 })),
  seed: fc.integer({ min: 0, max: 2 }),
  penalties: fc.boolean(),
  masked: fc.constantFrom(false, false, false, false, true),
  ignoreEos: fc.constantFrom(true, true, false),
  promptLogprobs: fc.boolean(),
  routed: fc.boolean(),
  priority: fc.integer({ min: -1, max: 1 }),
});

type Action = { readonly kind: string; readonly job?: Job; readonly index?: number };
const actions: fc.Arbitrary<Action> = fc.oneof(
  { weight: 2, arbitrary: jobs.map((job) => ({ kind: "submit", job })) },
  { weight: 1, arbitrary: fc.nat(40).map((index) => ({ kind: "cancel", index })) },
  { weight: 8, arbitrary: fc.constant({ kind: "plan" }) },
  { weight: 8, arbitrary: fc.constant({ kind: "finish" }) },
  { weight: 3, arbitrary: fc.nat(3).map((index) => ({ kind: "answer", index })) },
  { weight: 4, arbitrary: fc.constant({ kind: "masks" }) },
);

function act(simulation: Simulation, action: Action): void {
  if (action.kind === "submit") simulation.submit(action.job!);
  if (action.kind === "cancel") simulation.cancel(action.index!);
  if (action.kind === "plan") simulation.plan();
  if (action.kind === "finish") simulation.finishStep();
  if (action.kind === "answer") simulation.answerAcquisition(action.index!);
  if (action.kind === "masks") simulation.makeMasks();
}

function checkOutcomes(simulation: Simulation, { maxPinned }: Machine): void {
  for (const { sequence, events, cancelled } of simulation.outcomes) {
    const { request } = sequence;
    const alone = generateAlone(request);
    const tokens = events.flatMap((event) => (event.kind === "token" ? [event.token] : []));
    checkRoutes(sequence, events);
    if (request.mix.length > maxPinned && !cancelled) {
      const codes = events.map((event) => event.kind === "error" && event.code);
      assert.deepEqual(codes, ["adapter_memory_full"]);
      continue;
    }
    if (cancelled) {
      assert.deepEqual(tokens, alone.slice(0, tokens.length));
      continue;
    }
    assert.deepEqual(tokens, alone);
    const last = events.at(-1)!;
    assert.equal(last.kind, "finish");
    if (last.kind !== "finish") continue;
    assert.equal(last.reason, alone.length < request.maxTokens ? "stop" : "length");
    const prompt = events.filter((event) => event.kind === "prompt");
    assert.equal(prompt.length, request.promptLogprobs === null ? 0 : 1);
    for (const event of prompt) {
      const following = event.logprobs.map(({ token }) => token);
      assert.deepEqual(following, request.prompt.slice(1));
    }
  }
}

/** Every sampled token comes with its routing when it was asked for, whatever was computed again. */
function checkRoutes({ request }: Sequence, events: readonly GenerationEvent[]): void {
  const tokens = [...request.prompt];
  for (const event of events) {
    if (event.kind !== "token" && event.kind !== "finish") continue;
    if (event.kind === "finish" && event.stopToken === null) assert.equal(event.routes, null);
    else if (request.routes === null) assert.equal(event.routes, null);
    else {
      const digest = digestOf(request.mix, tokens);
      const want = request.routes.layers.map((layer) => routeOf(digest, layer));
      assert.deepEqual(
        [...event.routes!.experts],
        want.map(([expert]) => expert),
      );
      assert.deepEqual(
        [...event.routes!.scores],
        want.map(([, score]) => score),
      );
    }
    if (event.kind === "token") tokens.push(event.token);
  }
}

const schedules = fc.array(actions, { minLength: 20, maxLength: 160, size: "max" });

test("any schedule ends with every page free and the tokens each request gets alone", () => {
  let preemptions = 0;
  let sharedTokens = 0;
  fc.assert(
    fc.property(machines, schedules, (machine, schedule) => {
      const simulation = new Simulation(machine);
      for (const action of schedule) act(simulation, action);
      simulation.drain();
      checkOutcomes(simulation, machine);
      assert.equal(simulation.scheduler.kv.free, machine.pages);
      assert.equal(simulation.pinned, 0);
      preemptions += simulation.scheduler.totals.preemptions;
      sharedTokens += simulation.scheduler.totals.prefixHits;
    }),
    { numRuns: 4000 },
  );
  assert.ok(preemptions > 300 && sharedTokens > 5000, "the schedules reach the hard cases");
});

test("a step that fails ends its own sequences and no others", () => {
  fc.assert(
    fc.property(
      machines,
      fc.array(jobs, { minLength: 1, maxLength: 8 }),
      fc.nat(20),
      (machine, list, failing) => {
        const simulation = new Simulation(machine);
        for (const job of list) simulation.submit(job);
        for (let turns = 0; !simulation.scheduler.idle; turns++) {
          assert.ok(turns < 5000, "the scheduler gets on");
          simulation.answerAcquisition();
          simulation.makeMasks();
          simulation.plan();
          simulation.plan();
          simulation.finishStep(simulation.steps === failing);
        }
        for (const { sequence, events } of simulation.outcomes) {
          const last = events.at(-1)!;
          const fits = sequence.adapters.length <= machine.maxPinned;
          const code = fits ? "engine_failed" : "adapter_memory_full";
          if (last.kind === "error") assert.equal(last.code, code);
          else assert.equal(last.kind, "finish");
          const tokens = events.flatMap((event) => (event.kind === "token" ? [event.token] : []));
          const alone = generateAlone(sequence.request);
          assert.deepEqual(tokens, alone.slice(0, tokens.length));
        }
        assert.equal(simulation.scheduler.kv.free, machine.pages);
      },
    ),
    { numRuns: 200 },
  );
});

test("a request that can never fit is refused when it is submitted", () => {
  const simulation = new Simulation({ ...roomy, pages: 4 });
  simulation.submit({ ...plain, maxTokens: 62 });
  assert.throws(
    () => simulation.submit({ ...plain, maxTokens: 63 }),
    (error) => error instanceof ApiError && error.code === "context_length_exceeded",
  );
});

test("a second prompt computes only what its shared prefix lacks", () => {
  const simulation = new Simulation(roomy);
  const prompt = Array.from({ length: 50 }, (_, index) => index % 7);
  simulation.submit({ ...plain, prompt });
  simulation.drain();
  const { sequence } = simulation.submit({ ...plain, prompt });
  const { sequence: other } = simulation.submit({ ...plain, prompt, mix: mixOf(1) });
  simulation.drain();
  assert.equal(sequence.cachedTokens, 48);
  assert.equal(other.cachedTokens, 0, "another adapter's pages are not shared");
});

test("a pooled prompt is computed whole, also where its pages are known, and in as many steps as it takes", () => {
  const simulation = new Simulation({ ...roomy, maxRows: 16 });
  const prompt = Array.from({ length: 50 }, (_, index) => index % 7);
  const pooled = { ...plain, prompt, maxTokens: 0, pooled: true };
  const first = simulation.submit(pooled);
  simulation.submit({ ...plain, prompt });
  simulation.drain();
  const second = simulation.submit({ ...pooled, mix: mixOf(1) });
  const third = simulation.submit(pooled);
  simulation.drain();
  for (const { sequence, events } of [first, second, third]) {
    assert.equal(sequence.cachedTokens, 0);
    const [embedding, finish] = events;
    assert.ok(embedding?.kind === "embedding" && events.length === 2);
    assert.deepEqual([...embedding.vector], [Math.fround(digestOf(sequence.request.mix, prompt))]);
    assert.equal(finish?.kind, "finish");
  }
});

test("equal prompts that come together are computed once", () => {
  const simulation = new Simulation(roomy);
  const prompt = Array.from({ length: 50 }, (_, index) => index % 7);
  const choices = [0, 1, 2, 3].map((seed) => simulation.submit({ ...plain, prompt, seed }));
  simulation.drain();
  assert.deepEqual(
    choices.map(({ sequence }) => sequence.cachedTokens),
    [0, 48, 48, 48],
  );
  checkOutcomes(simulation, roomy);
});

test("decoding keeps a step queued behind the one that runs", () => {
  const simulation = new Simulation(roomy);
  simulation.submit(plain);
  assert.ok(simulation.plan());
  assert.ok(simulation.plan(), "the second step is planned before the first one's token is known");
  for (let step = 2; step < 8; step++) {
    assert.ok(!simulation.plan(), "there are two batches");
    simulation.finishStep();
    assert.ok(simulation.plan(), "the engine never waits for the scheduler");
  }
  simulation.drain();
  assert.equal(simulation.steps, 8, "no step is wasted on a generation that ends by length");
});

test("running streams have a row in every step while a long prompt is computed", () => {
  const simulation = new Simulation({ ...roomy, maxRows: 256 });
  const stream = simulation.submit({ ...plain, maxTokens: 100 });
  simulation.plan();
  simulation.finishStep();
  simulation.submit({ ...plain, prompt: Array.from({ length: 600 }, () => 5) });
  for (let step = 0; step < 10; step++) {
    const before = stream.events.length;
    simulation.plan();
    simulation.finishStep();
    assert.equal(stream.events.length, before + 1);
  }
  simulation.drain();
});

test("a flood for one adapter does not keep another's request waiting", () => {
  const simulation = new Simulation({ ...roomy, maxBatch: 2, maxPinned: 4 });
  for (let index = 0; index < 100; index++) simulation.submit({ ...plain, mix: mixOf(1) });
  for (let index = 0; index < 4; index++) {
    simulation.plan();
    simulation.answerAcquisition();
    simulation.finishStep();
  }
  const late = simulation.submit({ ...plain, mix: mixOf(2) });
  const finished = () => simulation.outcomes.filter(({ events }) => events.length >= 9).length;
  const before = finished();
  while (late.events.length === 0) {
    simulation.plan();
    simulation.answerAcquisition();
    simulation.finishStep();
  }
  assert.ok(finished() - before <= 4, `${finished() - before} others were served before it`);
  simulation.drain();
});

test("requests for an adapter without room get in after a bounded number of others", () => {
  const simulation = new Simulation({ ...roomy, maxPinned: 1 });
  simulation.submit({ ...plain, mix: mixOf(1) });
  const tick = () => {
    simulation.answerAcquisition();
    simulation.plan();
    simulation.finishStep();
  };
  tick();
  tick();
  const starved = simulation.submit({ ...plain, mix: mixOf(2) });
  let others = 0;
  while (starved.events.length === 0) {
    if (simulation.scheduler.waiting.length < 3) {
      simulation.submit({ ...plain, mix: mixOf(1) });
      others += 1;
    }
    tick();
    assert.ok(others < 30, "adapter 2 starves while adapter 1 is kept busy");
  }
  simulation.drain();
});

test("an adapter that cannot be loaded fails its own requests alone", () => {
  const simulation = new Simulation(roomy);
  const { sequence: broken } = simulation.submit({ ...plain, mix: mixOf(3) });
  const base = simulation.submit(plain);
  simulation.plan();
  const events = simulation.scheduler.failAdapter(3);
  assert.deepEqual(
    events.map(({ sequence, event }) => [sequence, event.kind]),
    [[broken, "error"]],
  );
  while (base.events.length < 9) {
    simulation.plan();
    simulation.finishStep();
  }
});

test("more logit biases than a step can carry are refused", () => {
  const request = requestOf(plain);
  const sampling = { ...request.sampling, logitBias: new Map([[7, -100]]) };
  const { scheduler } = new Simulation(roomy);
  assert.throws(() => scheduler.submit({ ...request, sampling }), /at most 0 tokens/);
});

test("a generation that follows a grammar waits for its token and its mask, and holds up nobody", () => {
  const simulation = new Simulation({ maxBatch: 2, maxRows: 16, pages: 8, maxPinned: 1 });
  const job: Job = {
    prompt: [1, 2, 3],
    mix: mixOf(0),
    maxTokens: 8,
    seed: 1,
    penalties: false,
    ignoreEos: true,
    promptLogprobs: false,
  };
  const masked = simulation.submit({ ...job, masked: true });
  const free = simulation.submit(job);
  const planned = () => [masked, free].map(({ sequence }) => sequence.planned);
  simulation.plan(); // all rows but the one that samples
  assert.deepEqual(planned(), [2, 3]);
  simulation.makeMasks();
  simulation.plan();
  assert.deepEqual(planned(), [3, 4]);
  simulation.finishStep();
  simulation.plan(); // its token is not sampled yet
  assert.deepEqual(planned(), [3, 5]);
  simulation.finishStep();
  simulation.plan(); // its mask is not made yet
  assert.deepEqual(planned(), [3, 6]);
  assert.equal(masksInWork(simulation.scheduler.running).length, 1);
  simulation.makeMasks();
  simulation.finishStep();
  simulation.plan();
  assert.deepEqual(planned(), [4, 7]);
  simulation.drain();
  checkOutcomes(simulation, roomy);
});
