import assert from "node:assert/strict";
import { test } from "node:test";
import { jsonOf } from "../json/write.js";
import { chatLogprobs, completionLogprobs, lazyChatLogprobs, TokenNames } from "./logprobs.js";

const names = new TokenNames(null, false);

test("-Infinity becomes -9999, which JSON can say", () => {
  const logprob = {
    token: 3,
    logprob: Number.NEGATIVE_INFINITY,
    top: [{ token: 5, logprob: -0.5 }],
  };
  const pieces = [{ id: 3, offset: 0, logprob }];
  assert.deepEqual(JSON.parse(jsonOf(completionLogprobs(pieces, names))), {
    text_offset: [0],
    token_logprobs: [-9999],
    tokens: ["token_id:3"],
    top_logprobs: [{ "token_id:5": -0.5, "token_id:3": -9999 }],
  });
  const entry = (id: number, logprob: number) => ({
    token: `token_id:${id}`,
    logprob,
    bytes: null,
  });
  const expected = {
    content: [{ ...entry(3, -9999), top_logprobs: [entry(5, -0.5)] }],
    refusal: null,
  };
  assert.deepEqual(chatLogprobs(pieces, names), expected);
  assert.deepEqual(JSON.parse(jsonOf(lazyChatLogprobs(pieces, names))), expected);
});
