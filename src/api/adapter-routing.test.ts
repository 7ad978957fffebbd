import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeGenerator, fakeContext } from "../engine/fake.js";
import { fakeAdapterInfo } from "../engine/fake-engine.js";
import type { Trace } from "../metrics/consistency.js";
import { NO_CARD } from "../models/card.js";
import { ownTurn } from "../turns.js";
import { adapterRouting } from "./adapter-routing.js";
import type { ApiContext, ServedAdapter } from "./context.js";

const TREE = [{ experts: 3, active: 1 }];
const LINEARS = [{ layer: 0, name: "up_proj" }];

/** One adapter, which was looked at: `traces` are the work of making its traces. */
function create(traces: () => Generator<void, readonly (readonly Trace[])[]>) {
  const plain = fakeContext(new FakeGenerator(), {}, []);
  const info = { ...fakeAdapterInfo(1), tree: TREE, linears: LINEARS };
  const place = { parent: "fake", root: "/a", created: 0, pinned: false, card: NO_CARD };
  const adapter: ServedAdapter = { ...place, name: "a", adapter: 1, info };
  const state = { unloaded: false };
  const context: ApiContext = {
    ...plain,
    adapters: {
      ...plain.adapters,
      adapters: () => [adapter],
      routing: () => {
        if (state.unloaded) throw new Error("adapter 1 is not loaded");
        return { total: [[2, 1, 0]], linears: [[[2, 1, 0]]] };
      },
    },
    sampledRouting: () => ({ generations: 1, tokens: 3, layers: [0], traces }),
  };
  return { context, state };
}

const TRACES: readonly (readonly Trace[])[] = [[[[0], [0], [1]]]];

test("an adapter that is unloaded while its routing is told is told of all the same", async () => {
  const { context, state } = create(function* () {
    yield;
    return TRACES;
  });
  const telling = adapterRouting("a", context);
  state.unloaded = true;
  const { levels, consistency } = await telling;
  assert.deepEqual(levels[0]?.tokens, [2, 1, 0]);
  assert.equal(consistency?.tokens, 3);
});

test("what was looked at is put together a slice in a turn", async (t) => {
  let now = 0;
  t.mock.method(performance, "now", () => now);
  await ownTurn();
  let turn = 0;
  let counting = setImmediate(function count() {
    turn += 1;
    counting = setImmediate(count);
  });
  const turns = new Set<number>();
  const { context } = create(function* () {
    for (let step = 0; step < 10; step++) {
      now += 2; // ms, longer than a slice
      turns.add(turn);
      yield;
    }
    return TRACES;
  });
  await adapterRouting("a", context);
  clearImmediate(counting);
  assert.equal(turns.size, 10);
});
