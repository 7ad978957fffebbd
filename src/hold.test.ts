import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { nativeModule } from "./engine/engine.js";
import { type Callback, entered, type Hold, hearHolds } from "./hold.js";

interface Told extends Hold {
  readonly callback: Callback;
}

/** What is told from here to the end of the test. */
function told(context: TestContext, cpuSeconds: () => number): Told[] {
  const holds: Told[] = [];
  hearHolds({ heard: (callback, hold) => holds.push({ callback, ...hold }), cpuSeconds });
  context.after(() => hearHolds(null));
  return holds;
}

/** A clock that moves when it is told to. */
function handClock() {
  let now = 0;
  return {
    read: () => now,
    compute: (seconds: number) => {
      now += seconds;
    },
  };
}

test("a callback is all that goes on before the event loop looks at anything else", async (context) => {
  const clock = handClock();
  const holds = told(context, clock.read);
  await turn();
  entered("request");
  clock.compute(1);
  await null;
  clock.compute(2);
  for (let tick = 0; tick < 100; tick++) await null;
  entered("text"); // it is the request's callback still
  clock.compute(4);
  await turn();
  entered("text");
  clock.compute(8);
  await turn();
  const cpu = holds.map(({ callback, cpuSeconds }) => ({ callback, cpuSeconds }));
  assert.deepEqual(cpu, [
    { callback: "request", cpuSeconds: 7 },
    { callback: "text", cpuSeconds: 8 },
  ]);
});

test("callbacks of one turn are told one by one", async (context) => {
  const clock = handClock();
  const holds = told(context, clock.read);
  const callbacks = [1, 2, 4].map(
    (seconds) =>
      new Promise<void>((resolve) => {
        setImmediate(() => {
          entered("timer");
          clock.compute(seconds);
          resolve();
        });
      }),
  );
  await Promise.all(callbacks);
  await turn();
  assert.deepEqual(
    holds.map(({ cpuSeconds }) => cpuSeconds),
    [1, 2, 4],
  );
});

test("one that throws is told", async (context) => {
  const clock = handClock();
  const holds = told(context, clock.read);
  await turn();
  const failing = async () => {
    entered("request");
    clock.compute(3);
    await null;
    clock.compute(4);
    throw new Error("no result");
  };
  await assert.rejects(failing);
  await turn();
  assert.deepEqual(
    holds.map(({ cpuSeconds }) => cpuSeconds),
    [7],
  );
});

test("what a callback waited counts as held and not as computed", async (context) => {
  const { threadCpuSeconds } = nativeModule();
  const holds = told(context, threadCpuSeconds);
  const sleepMs = 50;
  await turn();
  entered("request");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, sleepMs);
  const began = threadCpuSeconds();
  while (threadCpuSeconds() < began + 0.005);
  await turn();
  const [{ seconds, cpuSeconds } = assert.fail("nothing was told")] = holds;
  assert.ok(seconds >= 0.98 * (sleepMs / 1000), `${seconds} s passed`);
  assert.ok(
    cpuSeconds >= 0.005 && seconds - cpuSeconds >= 0.9 * (sleepMs / 1000),
    `${cpuSeconds} s computed`,
  );
});
