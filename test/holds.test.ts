import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { ApiContext } from "../src/api/context.js";
import { FakeGenerator, fakeContext } from "../src/engine/fake.js";
import { type Callback, hearHolds } from "../src/hold.js";
import { CardThread } from "../src/models/card-thread.js";
import type { Generator } from "../src/scheduler/request.js";
import type { ChatTemplate, Tokenizer } from "../src/text/text.js";
import { post, serve } from "./harness.js";
import { fakeGrammars } from "./support/grammars.js";
import { fixtureText } from "./support/text-fixtures.js";

/**
 * What the event loop computes for a request is all in the histogram: the clock moves only where a request reaches
 * what the server was given, by another power of two in each place, so that a sum shows which of them were told.
 */
const WORK = {
  finding: 1,
  rendering: 2,
  tokenizing: 4,
  submitting: 8,
  decoding: 16,
  listing: 32,
} as const;

class WorkClock {
  seconds = 0;
  /** Once each: how often a place is reached is its own affair. */
  readonly #done = new Set<keyof typeof WORK>();

  work(place: keyof typeof WORK): void {
    if (this.#done.has(place)) return;
    this.#done.add(place);
    this.seconds += WORK[place];
  }
}

/** The fake model; each place does its work, after a real wait where the real one has one. */
function workingContext(generator: Generator, clock: WorkClock): ApiContext {
  const plain = fakeContext(generator);
  const { models, chatTemplate, tokenizer, decoder } = plain as ApiContext & {
    chatTemplate: ChatTemplate;
    tokenizer: Tokenizer;
  };
  return {
    ...plain,
    models: {
      ...models,
      find: (name) => {
        clock.work("finding");
        return models.find(name);
      },
      list: () => {
        clock.work("listing");
        return models.list();
      },
    },
    chatTemplate: {
      ...chatTemplate,
      render: async (...args) => {
        const text = await chatTemplate.render(...args);
        clock.work("rendering");
        return text;
      },
    },
    tokenizer: {
      ...tokenizer,
      encode: async (...args) => {
        const ids = await tokenizer.encode(...args);
        clock.work("tokenizing");
        return ids;
      },
    },
    generator: {
      reserve: (...needs) => generator.reserve(...needs),
      submit: (request) => {
        clock.work("submitting");
        return generator.submit(request);
      },
    },
    decoder: () => {
      clock.work("decoding");
      return decoder();
    },
  };
}

async function toldOf(context: TestContext, ask: (url: string) => Promise<Response>) {
  const clock = new WorkClock();
  const told = new Map<Callback, number>();
  hearHolds({
    heard: (callback, { cpuSeconds }) => told.set(callback, (told.get(callback) ?? 0) + cpuSeconds),
    cpuSeconds: () => clock.seconds,
  });
  context.after(() => hearHolds(null));
  const { url } = await serve(context, { context: (own) => workingContext(own, clock) });
  const response = await ask(url);
  await response.arrayBuffer();
  await turn();
  await turn();
  assert.equal(response.status, 200);
  return { told: Object.fromEntries([...told].filter(([, seconds]) => seconds > 0)), clock };
}

const { finding, rendering, tokenizing, submitting, decoding, listing } = WORK;
const message = { role: "user", content: "How are you?" };

test("every stretch of a chat is told, up to its submission", async (context) => {
  const { told } = await toldOf(context, (url) =>
    post(`${url}/v1/chat/completions`, { model: "fake", messages: [message] }),
  );
  const all = finding + rendering + tokenizing + submitting + decoding;
  assert.deepEqual(told, { request: all });
});

test("every stretch of a completion is told, also of one whose body is read in slices", async (context) => {
  const padding = " ".repeat(100_000);
  const { told } = await toldOf(context, (url) =>
    post(`${url}/v1/completions`, `${padding}{"model": "fake", "prompt": "How are you?"}`),
  );
  const sum = Object.values(told).reduce((total, seconds) => total + seconds, 0);
  assert.equal(sum, finding + tokenizing + submitting + decoding);
});

test("what comes after the answer of another thread is told", async (context) => {
  let seconds = 0;
  const told: [Callback, number][] = [];
  hearHolds({
    heard: (callback, { cpuSeconds }) => cpuSeconds > 0 && told.push([callback, cpuSeconds]),
    cpuSeconds: () => seconds,
  });
  context.after(() => hearHolds(null));
  const { tokenizer } = fixtureText("llama-spm");
  const grammars = fakeGrammars(fakeContext(new FakeGenerator()));
  context.after(() => grammars.close());
  await turn();
  await tokenizer.encode("How are you?");
  seconds += 1;
  await turn();
  await grammars.compile(`root ::= "a"`);
  seconds += 2;
  await turn();
  await new CardThread().read("/nowhere");
  seconds += 4;
  await turn();
  assert.deepEqual(told, [
    ["text", 1],
    ["grammar", 2],
    ["adapter", 4],
  ]);
});

test("what is asked for by GET is told", async (context) => {
  const { told } = await toldOf(context, (url) => fetch(`${url}/v1/models`));
  assert.deepEqual(told, { request: listing });
});
