import assert from "node:assert/strict";
import { test } from "node:test";
import { Residency } from "./residency.js";

const nothing = () => false;

test("an adapter is asked for once and pinned once, however many want it", () => {
  const residency = new Residency();
  residency.want(1);
  residency.want(1);
  assert.deepEqual(residency.toAcquire, [1]);
  assert.equal(residency.hasAll([1]), false);
  residency.granted(1);
  assert.equal(residency.hasAll([1]), true);
  assert.equal(residency.hasAll([1, 2]), false);
  assert.equal(residency.hasAll([]), true);
  residency.addUser([1]);
  residency.releaseUnused(nothing);
  assert.deepEqual(residency.toRelease, []);
  residency.removeUser([1]);
  residency.releaseUnused(nothing);
  assert.deepEqual(residency.toRelease, [1]);
  assert.deepEqual(residency.pinned(), []);
});

test("a refusal that a release has overtaken is asked again", () => {
  const residency = new Residency();
  residency.want(1);
  residency.granted(1);
  residency.want(2);
  residency.releaseUnused((adapter) => adapter === 2);
  residency.refused(2); // the engine answered before it dropped the pin of 1
  assert.equal(residency.hopeless([2]), false);
  residency.want(2);
  assert.deepEqual(residency.toAcquire, [1, 2, 2]);
});

test("a refused adapter waits for a release, and has no hope when nothing else is pinned", () => {
  const residency = new Residency();
  residency.want(1);
  residency.granted(1);
  residency.want(2);
  residency.refused(2);
  assert.equal(residency.hopeless([2]), false);
  residency.want(2);
  assert.deepEqual(residency.toAcquire, [1, 2], "asking again now would be in vain");
  residency.releaseUnused((adapter) => adapter === 2);
  residency.want(2);
  assert.deepEqual(residency.toAcquire, [1, 2, 2]);
  residency.refused(2);
  assert.equal(residency.hopeless([2]), true);
});

test("what is held for the same request is no reason to hope, but while it is used", () => {
  const residency = new Residency();
  residency.want(1);
  residency.granted(1);
  residency.addUser([1]);
  residency.want(2);
  residency.refused(2);
  assert.equal(residency.hopeless([1, 2]), false, "the user of 1 may end");
  residency.removeUser([1]);
  assert.equal(residency.hopeless([1, 2]), true);
  assert.equal(residency.hopeless([2]), false, "1 may be dropped");
});

test("the engine says which adapters are resident, and is asked of no others", () => {
  const residency = new Residency();
  for (const adapter of [1, 2, 3]) {
    residency.want(adapter);
    residency.granted(adapter);
  }
  residency.releaseUnused((adapter) => adapter === 1);
  const asked: number[] = [];
  const all = (adapter: number) => asked.push(adapter) > 0;
  assert.deepEqual(
    residency.resident((adapter) => adapter !== 3),
    [1, 2],
  );
  assert.deepEqual(
    residency.resident(all),
    [1, 2],
    "what was evicted does not come back by itself",
  );
  assert.deepEqual(asked, [1, 2]);
});
