import assert from "node:assert/strict";
import { test } from "node:test";
import type { ChatChunk } from "../client/chat.js";
import { Answer } from "./answer.js";

type Choice = ChatChunk["choices"][number];

function chunk(choice: Partial<Choice>): ChatChunk {
  return { choices: [{ delta: {}, finish_reason: null, ...choice }] };
}

const routing = (...ids: number[]) => ({ tokens: ids.map((id) => ({ id, routes: [] })) });

test("pieces know their tokens, also where several make up one character", () => {
  const answer = new Answer("legal", 0);
  const opening = { role: "assistant", content: "" };
  assert.equal(answer.add(chunk({ delta: opening }), 5), null);
  assert.equal(answer.state, "waiting");
  answer.add(chunk({ delta: { content: "Hi" }, routing: routing(1) }), 10);
  answer.add(chunk({ delta: { content: "" }, routing: routing(2) }), 20);
  answer.add(chunk({ delta: { content: " 👋" }, routing: routing(3) }), 30);
  answer.add(chunk({ finish_reason: "stop", routing: routing(9) }), 31);
  assert.equal(answer.text, "Hi 👋");
  assert.deepEqual(answer.pieces, [
    { text: "Hi", from: 0, to: 1 },
    { text: " 👋", from: 1, to: 3 },
  ]);
  assert.equal(answer.pieceOf(1)?.text, " 👋");
  assert.equal(answer.pieceOf(3), null, "the token that ended it shows nothing");
  assert.equal(answer.routing.tokens.length, 4);
  assert.equal(answer.finishReason, "stop");
});

test("the first token's time counts from the question, the speed from the first token", () => {
  assert.equal(new Answer("legal", 1000).speed, null);
  const answer = new Answer("legal", 1000);
  answer.add(chunk({ delta: { content: "a" } }), 1250);
  assert.deepEqual(answer.speed, { firstTokenMs: 250, tokensPerSecond: null, tokens: 1 });
  answer.add(chunk({ delta: { content: "b" } }), 1350);
  answer.add(chunk({ delta: { content: "c" } }), 1450);
  assert.deepEqual(answer.speed, { firstTokenMs: 250, tokensPerSecond: 10, tokens: 3 });
  const usage = {
    prompt_tokens: 1,
    completion_tokens: 4,
    prompt_tokens_details: { cached_tokens: 0 },
  };
  answer.add({ choices: [], usage }, 1460);
  assert.deepEqual(answer.speed, { firstTokenMs: 250, tokensPerSecond: 10, tokens: 4 });
});

test("an answer knows whom the server chose", () => {
  const answer = new Answer("auto", 0);
  assert.equal(answer.chosen, null);
  const auto = { nearest: "sql", score: 0.91 };
  answer.add({ ...chunk({ delta: { role: "assistant" } as object }), model: "sql", auto }, 5);
  assert.deepEqual(answer.chosen, { model: "sql", score: 0.91 });
});
