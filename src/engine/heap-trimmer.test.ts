import assert from "node:assert/strict";
import { test } from "node:test";
import { nativeModule } from "./engine.js";
import { HeapTrimmer } from "./heap-trimmer.js";

const MIB = 1 << 20;

test("the heap is trimmed when the process has grown, and not again before it grows anew", async () => {
  let resident = 100 * MIB;
  let trims = 0;
  const trimHeap = async () => {
    trims += 1;
    resident -= 10 * MIB;
    return true;
  };
  const trimmer = new HeapTrimmer({ trimHeap }, () => resident);
  const after = async (mebibytes: number) => {
    resident += mebibytes * MIB;
    await trimmer.check();
    return trims;
  };
  assert.equal(await after(63), 0);
  assert.equal(await after(1), 1);
  assert.equal(await after(63), 1);
  assert.equal(await after(-100), 1);
  assert.equal(await after(40), 1);
  assert.equal(await after(30), 2);
});

test("one trim runs at a time", async () => {
  let resident = 0;
  let trims = 0;
  let end = () => {};
  const trimHeap = () => {
    trims += 1;
    return new Promise<boolean>((resolve) => {
      end = () => resolve(true);
    });
  };
  const trimmer = new HeapTrimmer({ trimHeap }, () => resident);
  resident = 100 * MIB;
  const first = trimmer.check();
  await trimmer.check();
  end();
  await first;
  assert.equal(trims, 1);
});

test("the addon trims its heap", async () => {
  assert.equal(typeof (await nativeModule().trimHeap()), "boolean");
});
