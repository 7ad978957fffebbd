import assert from "node:assert/strict";
import { test } from "node:test";
import { ExpertCounts, MOST_READ_AT_ONCE } from "./expert-counts.js";

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

test("a look reads a bounded number of adapters, and every one in turn", () => {
  const counts = new ExpertCounts();
  const adapters = upTo(3 * MOST_READ_AT_ONCE);
  let looks = 0;
  const read: number[] = [];
  const look = () => {
    looks += 1;
    return counts.look(adapters, (adapter) => {
      read.push(adapter);
      return [[looks]];
    });
  };
  for (let i = 1; i <= 3; i++) assert.equal(look().size, i * MOST_READ_AT_ONCE);
  assert.deepEqual(read, adapters);
  assert.deepEqual(look().get(1), [[4]]);
  assert.deepEqual(counts.look([], () => assert.fail()).size, 0);
});

test("adapters that left are forgotten, and new ones are read before those that are known", () => {
  const counts = new ExpertCounts();
  counts.look(upTo(MOST_READ_AT_ONCE), () => [[1]]);
  const next = [...upTo(MOST_READ_AT_ONCE).slice(1), 100];
  const read: number[] = [];
  const known = counts.look(next, (adapter) => {
    read.push(adapter);
    return [[2]];
  });
  assert.equal(read[0], 100);
  assert.deepEqual(
    [...known.keys()].sort((a, b) => a - b),
    next,
  );
});
