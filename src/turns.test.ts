import assert from "node:assert/strict";
import { test } from "node:test";
import { hearHolds } from "./hold.js";
import { ownTurn, spread } from "./turns.js";

function* steps(count: number, each: (step: number) => void): Generator<void, number> {
  for (let step = 0; step < count; step++) {
    each(step);
    yield;
  }
  return count;
}

test("short work is done at once", async () => {
  let done = 0;
  const work = spread(steps(3, () => done++));
  assert.equal(done, 3);
  assert.equal(await work, 3);
});

test("however much long work there is, one slice of one of them runs in a turn", async (context) => {
  let now = 0;
  context.mock.method(performance, "now", () => now);
  let turn = 0;
  let counting = setImmediate(function count() {
    turn += 1;
    counting = setImmediate(count);
  });
  const ran = new Map<number, Set<number>>(); // which work in which turn
  const works = Array.from({ length: 5 }, (_, work) =>
    spread(
      steps(20, () => {
        now += 0.4;
        ran.set(turn, (ran.get(turn) ?? new Set()).add(work));
      }),
    ),
  );
  await Promise.all(works);
  clearImmediate(counting);
  assert.ok(ran.size >= (5 * 20) / 3, `${ran.size} turns`);
  for (const [at, those] of ran) assert.equal(those.size, 1, `turn ${at}`);
});

test("what many begin in one turn shares its slice", async (context) => {
  let now = 0;
  context.mock.method(performance, "now", () => now);
  let done = 0;
  const begin = () =>
    spread(
      steps(20, () => {
        now += 0.125;
        done++;
      }),
    );
  await ownTurn();
  await spread(steps(4, () => (now += 0.125)));
  const works = Array.from({ length: 64 }, begin);
  await Promise.resolve();
  assert.equal(done, 4, "steps before the next turn");
  await Promise.all(works);
  assert.equal(done, 64 * 20);
});

test("what is short waits where other long work waits, and then has a slice", async (context) => {
  let now = 0;
  context.mock.method(performance, "now", () => now);
  const order: string[] = [];
  const step = (name: string) => () => {
    now += 0.5;
    order.push(name);
  };
  await ownTurn();
  const long = spread(steps(6, step("long")));
  const short = spread(steps(1, step("short")));
  assert.deepEqual(order, ["long", "long"]);
  await Promise.all([long, short]);
  assert.deepEqual(order, ["long", "long", "long", "long", "short", "long", "long"]);
});

test("every slice is told, and work that fails fails its own promise alone", async (context) => {
  let now = 0;
  context.mock.method(performance, "now", () => now);
  const heard: number[] = [];
  const listen = (callback: string, { seconds }: { seconds: number }) => {
    if (callback === "slice") heard.push(seconds);
  };
  hearHolds({ heard: listen, cpuSeconds: () => 0 });
  context.after(() => hearHolds(null));
  await ownTurn();
  const failing = spread(
    steps(4, (step) => {
      now += 1;
      if (step === 3) throw new Error("a step fails");
    }),
  );
  const other = spread(steps(2, () => (now += 1)));
  await assert.rejects(failing, /a step fails/);
  assert.equal(await other, 2);
  await ownTurn();
  assert.deepEqual(
    heard.filter((seconds) => seconds > 0),
    Array(6).fill(0.001),
  );
});
