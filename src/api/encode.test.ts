import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FakeGenerator, fakeContext, fakeTokens } from "../engine/fake.js";
import { jsonOf, jsonPieces } from "../json/write.js";
import { GREEDY } from "../scheduler/request.js";
import type { Choice as RunningChoice } from "./choice.js";
import { type Echo, readEcho } from "./echo.js";
import { ChatEncoder, CompletionEncoder, type Encoder } from "./encode.js";
import type { Job } from "./job.js";
import { TokenNames } from "./logprobs.js";
import { parseMixing } from "./mixing.js";
import { collectJob, streamJob } from "./run.js";
import { Fields } from "./schema.js";

interface Generated {
  readonly stream: string[];
  readonly whole: string;
}

const jobs = fc.record({
  text: fc.string({ unit: "binary", maxLength: 30 }),
  prompt: fc.array(fc.nat(255), { minLength: 1, maxLength: 6 }),
  maxTokens: fc.nat(60),
  n: fc.integer({ min: 1, max: 3 }),
  stop: fc.array(fc.string({ unit: "binary", minLength: 1, maxLength: 2 }), { maxLength: 2 }),
  logprobs: fc.option(fc.nat(3)),
  echo: fc.boolean(),
  returnTokenIds: fc.boolean(),
  tokensAsIds: fc.boolean(),
  includeUsage: fc.boolean(),
});

type Case = typeof jobs extends fc.Arbitrary<infer T> ? T : never;

function echoOf(ids: readonly number[]): Echo {
  const work = readEcho(ids, null, fakeContext(new FakeGenerator()).decoder());
  let step = work.next();
  while (step.done !== true) step = work.next();
  return step.value;
}

/** Runs one job twice against the same events, streamed and whole. */
async function generate(
  { text, prompt, maxTokens, echo, ...rest }: Case,
  encoder: (job: Job, names: TokenNames) => Encoder,
): Promise<Generated> {
  const context = fakeContext(new FakeGenerator({ reply: () => text }));
  const job: Job = {
    ...rest,
    candidates: rest.n,
    model: context.models.base,
    auto: null,
    mixing: parseMixing(new Fields({}), context.models.base, context),
    prompts: [{ ids: prompt, echo: echo ? echoOf(prompt) : null, maxTokens }],
    sampling: {
      temperature: 0,
      topP: 1,
      topK: 0,
      minP: 0,
      presencePenalty: 0,
      frequencyPenalty: 0,
      repetitionPenalty: 1,
      logitBias: new Map(),
    },
    seed: 1n,
    priority: 0,
    ignoreEos: false,
    grammar: null,
    toolFormat: null,
    stream: true,
  };
  const names = new TokenNames(context.tokenizer, job.tokensAsIds);
  const stream: string[] = [];
  await new Promise<void>((done, fail) => {
    streamJob(job, context, encoder(job, names), {
      chunk: (json) => stream.push(json),
      room: async () => {},
      done,
      fail,
    });
  });
  const whole = await new Promise<string>((body, fail) => {
    collectJob(job, context, encoder(job, names), {
      body: async (answer) => body(jsonOf(answer)),
      fail,
    });
  });
  return { stream, whole };
}

const envelope = { id: "x", created: 1 };

interface Choice {
  index: number;
  text?: string;
  delta?: { content?: string };
  message?: { content: string };
  logprobs: Record<string, unknown[]> | null;
  finish_reason: string | null;
  token_ids?: number[];
}

/** What a client that puts the chunks together ends up with, per choice. */
function assembled(chunks: readonly { choices: Choice[] }[], n: number) {
  return Array.from({ length: n }, (_, index) => {
    const parts = chunks.flatMap(({ choices }) => choices).filter((part) => part.index === index);
    assert.equal(parts.filter(({ finish_reason }) => finish_reason !== null).length, 1);
    return {
      text: parts.map(({ text, delta }) => text ?? delta?.content ?? "").join(""),
      reason: parts.at(-1)?.finish_reason,
      tokenIds: parts.flatMap(({ token_ids }) => token_ids ?? []),
      logprobs: parts.flatMap(({ logprobs }) => logprobs?.tokens ?? logprobs?.content ?? []),
    };
  });
}

for (const [name, encoder] of [
  ["chat", (job, names) => new ChatEncoder(job, envelope, names)],
  ["completion", (job, names) => new CompletionEncoder(job, envelope, names)],
] as [string, (job: Job, names: TokenNames) => Encoder][]) {
  test(`${name} chunks are JSON on one line and add up to the whole answer`, async () => {
    await fc.assert(
      fc.asyncProperty(jobs, async (given) => {
        const asked = name === "chat" ? { ...given, echo: false } : given;
        const { stream, whole } = await generate(asked, encoder);
        assert.ok(stream.every((json) => !/[\r\n]/.test(json)));
        const chunks = stream.map((json) => JSON.parse(json));
        const usage = asked.includeUsage ? chunks.pop() : null;
        for (const chunk of chunks) {
          assert.equal(Object.hasOwn(chunk, "usage"), asked.includeUsage);
          assert.equal(chunk.choices.length, 1);
        }
        const answer = JSON.parse(whole);
        assert.deepEqual(
          assembled(chunks, asked.n),
          answer.choices.map((choice: Choice) => ({
            text: choice.text ?? choice.message?.content,
            reason: choice.finish_reason,
            tokenIds: choice.token_ids ?? [],
            logprobs: choice.logprobs?.tokens ?? choice.logprobs?.content ?? [],
          })),
        );
        if (usage !== null) {
          assert.deepEqual(usage.choices, []);
          assert.deepEqual(usage.usage, answer.usage);
        }
      }),
      { numRuns: 60 },
    );
  });
}

test("a stop string never shows, and what comes before it is whole", async () => {
  await fc.assert(
    fc.asyncProperty(jobs, async (given) => {
      const asked = { ...given, echo: false, n: 1, maxTokens: 1000 };
      const { whole } = await generate(
        asked,
        (job, names) => new CompletionEncoder(job, envelope, names),
      );
      const { text, finish_reason } = JSON.parse(whole).choices[0];
      const full = Buffer.from(fakeTokens(asked.text)).toString("utf8");
      const cuts = asked.stop.map((stop) => full.indexOf(stop)).filter((at) => at >= 0);
      assert.ok(asked.stop.every((stop) => !text.includes(stop)));
      assert.ok(full.startsWith(text));
      assert.equal(finish_reason, "stop");
      if (cuts.length === 0) assert.equal(text, full);
    }),
  );
});

/** A prompt that is repeated with its log-probabilities, in front of one token. */
function longEcho(tokens: number): { job: Job; encoder: () => Encoder } {
  const context = fakeContext(new FakeGenerator());
  const ids = Array.from({ length: tokens }, (_, i) => i % 256);
  const sampling = { ...GREEDY, logitBias: new Map() };
  const job: Job = {
    ...{
      model: context.models.base,
      auto: null,
      mixing: parseMixing(new Fields({}), context.models.base, context),
      n: 1,
      candidates: 1,
      sampling,
      seed: 1n,
      priority: 0,
      stop: [],
    },
    ...{ ignoreEos: true, logprobs: 20, grammar: null, toolFormat: null, includeUsage: false },
    ...{ returnTokenIds: false, tokensAsIds: false, stream: true },
    prompts: [{ ids, echo: echoOf(ids), maxTokens: 1 }],
  };
  const names = new TokenNames(context.tokenizer, false);
  return { job, encoder: () => new CompletionEncoder(job, envelope, names) };
}

test("a long echoed prompt is streamed a few tokens at a time, as the client has room for them", async () => {
  const { job, encoder } = longEcho(2000);
  const chunks: string[] = [];
  let rooms = 0;
  await new Promise<void>((done, fail) => {
    streamJob(job, fakeContext(new FakeGenerator()), encoder(), {
      chunk: (json) => chunks.push(json),
      room: async () => {
        rooms += 1;
      },
      done,
      fail,
    });
  });
  const shown = chunks.map((json) => JSON.parse(json).choices[0].logprobs?.tokens.length ?? 0);
  assert.equal(Math.max(...shown), 64);
  assert.equal(
    shown.reduce((sum, count) => sum + count, 0),
    2001,
  );
  assert.ok(rooms > 0);
});

test("what a client that leaves has not been sent yet is forgotten", async () => {
  const { job, encoder } = longEcho(2000);
  const chunks: string[] = [];
  await new Promise<void>((room) => {
    const run = streamJob(job, fakeContext(new FakeGenerator()), encoder(), {
      chunk: (json) => chunks.push(json),
      room: async () => {
        run.cancel();
        room();
      },
      done: () => assert.fail("done"),
      fail: (error) => assert.fail(error),
    });
  });
  await new Promise(setImmediate);
  assert.deepEqual(chunks, []);
});

test("no step of writing a long answer has more than a token with its alternatives", () => {
  const { job, encoder } = longEcho(2000);
  const logprob = { token: 97, logprob: -1, top: [{ token: 98, logprob: -0.5 }] };
  const pieces = Array.from({ length: 2000 }, (_, offset) => ({ id: 97, offset, logprob }));
  const choice = { index: 0, finishReason: "stop" } as RunningChoice;
  const whole = { choice, index: 0, text: "", calls: [], tokens: [], pieces, routes: [] };
  const usage = { promptTokens: 2000, cachedTokens: 0, completionTokens: 0 };
  const chat = new ChatEncoder(job, envelope, new TokenNames(null, false));
  for (const answer of [encoder().whole([whole], usage), chat.whole([whole], usage)]) {
    const written = [...jsonPieces(answer)];
    assert.ok(written.length > 2000);
    assert.ok(Math.max(...written.map(({ length }) => length)) < 4096);
    assert.doesNotThrow(() => JSON.parse(written.join("")));
  }
});
