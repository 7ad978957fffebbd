import assert from "node:assert/strict";
import { test } from "node:test";
import { nativeModule } from "./engine/engine.js";
import { HoldTimer, timed, useCpuClock } from "./hold.js";

const SLEEP_MS = 50;

function sleep(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, SLEEP_MS);
}

test("what a callback waited counts as held and not as computed", () => {
  useCpuClock(nativeModule().threadCpuSeconds);
  const timer = new HoldTimer();
  sleep();
  const { seconds, cpuSeconds } = timer.read();
  assert.ok(seconds >= 0.98 * (SLEEP_MS / 1000), `${seconds} s passed`);
  assert.ok(cpuSeconds >= 0 && cpuSeconds < seconds / 2, `${cpuSeconds} s computed`);
});

test("what a callback computed is all counted, also when it throws", () => {
  useCpuClock(nativeModule().threadCpuSeconds);
  const holds: number[] = [];
  const work = () => {
    const began = nativeModule().threadCpuSeconds();
    while (nativeModule().threadCpuSeconds() < began + 0.01);
    throw new Error("no result");
  };
  assert.throws(() => timed((_, { cpuSeconds }) => holds.push(cpuSeconds), "request", work));
  assert.equal(holds.length, 1);
  assert.ok(holds[0]! >= 0.01, `${holds[0]} s computed`);
});
