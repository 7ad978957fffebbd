import assert from "node:assert/strict";
import { test } from "node:test";
import { compareAnswers, firstTokens } from "./agreement.js";

test("log probabilities are read in OpenAI's form and in llama.cpp's, likeliest first", () => {
  const expected = [
    [7, -0.5],
    [3, -1.5],
  ];
  const openai = { top_logprobs: [{ "token_id:3": -1.5, "token_id:7": -0.5 }] };
  const content = [
    {
      top_logprobs: [
        { id: 3, logprob: -1.5 },
        { id: 7, logprob: -0.5 },
      ],
    },
  ];
  for (const logprobs of [openai, { content }]) {
    assert.deepEqual([...firstTokens({ choices: [{ text: "", logprobs }] })], expected);
  }
  const none = [
    null,
    {},
    { top_logprobs: [] },
    { top_logprobs: [{ " the": -1 }] },
    { content: [{ top_logprobs: [{ token: " the", logprob: -1 }] }] },
  ] as unknown as Parameters<typeof firstTokens>[0]["choices"][number]["logprobs"][];
  for (const logprobs of none) {
    assert.throws(
      () => firstTokens({ choices: [{ text: "", logprobs: logprobs ?? null }] }),
      /^CommandError: .* without log probabilities of tokens$/,
    );
  }
});

test("the agreement counts differences of the peer's five likeliest, tokens not found, and equal text", () => {
  const peerFirst = new Map([0, 1, 2, 3, 4, 5].map((token) => [token, -token] as const));
  const ownFirst = new Map([
    [0, 0.3],
    [1, -1.4],
    [2, -2],
    [3, -3],
    [5, 100],
  ]);
  const agreement = compareAnswers(
    { first: [ownFirst], greedy: ["same", "abcX"] },
    { first: [peerFirst], greedy: ["same", "abcY"] },
  );
  assert.deepEqual([agreement.compared, agreement.missing], [4, 1]);
  assert.ok(Math.abs(agreement.most - 0.4) < 1e-12);
  assert.ok(Math.abs(agreement.rms - 0.25) < 1e-12); // (0.09 + 0.16) / 4 = 0.0625
  assert.deepEqual([agreement.answers, agreement.same, agreement.commonShare], [2, 1, 0.875]);
});
