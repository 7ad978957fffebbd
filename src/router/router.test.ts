import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { ModelRegistry, ServedAdapter } from "../api/context.js";
import { EncoderThread } from "../encoders/encoder.js";
import { FakeGenerator, fakeContext } from "../engine/fake.js";
import { fakeAdapterInfo } from "../engine/fake-engine.js";
import { NO_CARD } from "../models/card.js";
import { Router, type RouterOptions } from "./router.js";

const ENCODER = fileURLToPath(new URL("../../../test/fixtures/encoder", import.meta.url));
const { models } = fakeContext(new FakeGenerator());

/** The fixture's vectors are means of rows, one for each of its words. */
function create(t: TestContext, options: Partial<RouterOptions> = {}) {
  const faults: string[] = [];
  const choices: string[] = [];
  let started = 0;
  const router = new Router({
    start: () => {
      started += 1;
      return EncoderThread.start(ENCODER, 1);
    },
    threshold: 0.9,
    fallback: null,
    onChoice: (found) => choices.push(found),
    onFault: ({ message }) => faults.push(message),
    ...options,
  });
  t.after(() => router.close());
  return { router, faults, choices, started: () => started };
}

function adapter(handle: number, name: string, examples: readonly string[], auto = true) {
  const card = {
    ...NO_CARD,
    auto,
    examples: examples.map((content) => [{ role: "user", content }]),
  };
  const info = fakeAdapterInfo(handle);
  const place = { parent: models.base.name, root: `/${name}`, created: 0, pinned: false };
  return { name, adapter: handle, info, card, ...place } satisfies ServedAdapter;
}

const choose = (router: Router, texts: readonly string[], registry: ModelRegistry = models) =>
  router.choose(texts, registry);

test("the adapter with the nearest example is chosen, whichever text is nearer", async (t) => {
  const { router, started } = create(t, { threshold: 0.5 });
  assert.equal(router.ready, false);
  assert.equal(started(), 0);
  router.served(adapter(1, "pets", ["cat cat", "dog dog"]));
  router.served(adapter(2, "colours", ["red red", "green blue"]));
  assert.equal(router.ready, true);
  const pet = await choose(router, ["cat"]);
  assert.deepEqual([pet.name, pet.nearest], ["pets", "pets"]);
  assert.ok(pet.score > 0.5 && pet.score < 1);
  assert.equal((await choose(router, ["sky sky sky", "red red red"])).name, "colours");
  assert.equal(started(), 1);
});

test("what is near to no example is left to the base, or to the fallback", async (t) => {
  const examples = adapter(1, "pets", ["cat cat cat cat"]);
  const { router, choices } = create(t, { threshold: 0.99 });
  router.served(examples);
  const left = await choose(router, ["red blue green"]);
  assert.deepEqual([left.name, left.nearest], [models.base.name, "pets"]);
  assert.ok(left.score < 0.99);
  assert.deepEqual(await choose(router, []), { name: models.base.name, nearest: null, score: 0 });
  assert.deepEqual(choices, ["fallback", "fallback"]);
  const other = create(t, { threshold: 0.99, fallback: "tuned" }).router;
  other.served(examples);
  assert.equal((await choose(other, ["red blue green"])).name, "tuned");
  assert.equal((await choose(other, ["cat cat cat cat"])).name, "pets");
});

test("an adapter whose card has no examples, or says so, is never chosen", async (t) => {
  const { router, started } = create(t);
  router.served(adapter(1, "silent", []));
  router.served(adapter(2, "mixed", ["cat cat"], false));
  assert.equal(router.ready, false);
  assert.equal(started(), 0);
  router.served(adapter(3, "dogs", ["dog dog"]));
  assert.equal((await choose(router, ["cat"])).nearest, "dogs");
});

test("an adapter that is replaced or gone is chosen no more", async (t) => {
  const { router } = create(t);
  const [old, next] = [adapter(1, "pets", ["cat"]), adapter(2, "pets", ["dog"])];
  router.served(old);
  router.served(next);
  router.retired(old);
  assert.ok((await choose(router, ["cat"])).score < 0.9);
  assert.equal((await choose(router, ["dog"])).name, "pets");
  router.retired(next);
  assert.equal(router.ready, false);
  assert.equal((await choose(router, ["dog"])).nearest, null);
});

test("an adapter that is replaced is found all the while", async (t) => {
  const { router } = create(t);
  router.served(adapter(0, "pets", ["cat"]));
  for (let handle = 1; handle <= 20; handle++) {
    const asked = choose(router, ["cat"]);
    router.served(adapter(handle, "pets", ["cat"]));
    router.retired(adapter(handle - 1, "pets", ["cat"]));
    assert.deepEqual([(await asked).name, (await choose(router, ["cat"])).name], ["pets", "pets"]);
  }
});

test("a text that is longer than the encoder reads is cut", async (t) => {
  const { router } = create(t);
  router.served(adapter(1, "pets", ["cat ".repeat(40)]));
  assert.equal((await choose(router, ["cat ".repeat(5000)])).name, "pets");
});

test("nothing is looked for when the client has left", async (t) => {
  const { router, choices } = create(t);
  router.served(adapter(1, "pets", ["cat"]));
  const reason = new Error("the client left");
  const gone = AbortSignal.abort(reason);
  await assert.rejects(router.choose(["cat"], models, gone), reason);
  assert.deepEqual([choices.length, router.broken], [0, false]);
});

test("requests that come while the encoder loads wait for it", async (t) => {
  let load = () => {};
  const loaded = new Promise<void>((resolve) => {
    load = resolve;
  });
  const { router } = create(t, { start: () => loaded.then(() => EncoderThread.start(ENCODER, 1)) });
  router.served(adapter(1, "pets", ["cat"]));
  let answered = false;
  const waiting = choose(router, ["cat"]).then((choice) => {
    answered = true;
    return choice;
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual([router.ready, answered], [true, false]);
  load();
  assert.equal((await waiting).name, "pets");
});

test("an encoder that cannot be loaded is told of once, and nothing is offered", async (t) => {
  const { router, faults } = create(t, { start: () => EncoderThread.start("/nowhere", 1) });
  router.served(adapter(1, "pets", ["cat"]));
  router.served(adapter(2, "colours", ["red"]));
  await assert.rejects(choose(router, ["cat"]), /\/nowhere does not exist/);
  assert.deepEqual([router.ready, router.broken], [false, true]);
  assert.deepEqual(faults, ["/nowhere does not exist"]);
  router.served(adapter(3, "sky", ["sky"]));
  assert.equal(router.ready, false);
});

test("an encoder that stops by itself is told of once, and nothing is offered any more", async (t) => {
  let stop: (error: Error) => void = assert.fail;
  const { router, faults } = create(t, {
    start: (onFault) => {
      stop = onFault;
      return EncoderThread.start(ENCODER, 1, onFault);
    },
  });
  router.served(adapter(1, "pets", ["cat"]));
  assert.equal((await choose(router, ["cat"])).name, "pets");
  stop(new Error("out of memory"));
  assert.equal(router.ready, false);
  router.served(adapter(2, "colours", ["red"]));
  assert.equal(router.ready, false);
  assert.deepEqual(faults, ["out of memory"]);
});
