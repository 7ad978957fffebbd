import assert from "node:assert/strict";
import { test } from "node:test";
import { fakeContextWithoutText, fakeTokens } from "../src/engine/fake.js";
import { post, serve } from "./harness.js";

async function ask(url: string, path: string, body: object) {
  const response = await post(`${url}${path}`, body);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

test("a prompt is tokenized as a completion would read it, and back", async (t) => {
  const { url } = await serve(t);
  const { body } = await ask(url, "/tokenize", { model: "fake", prompt: "hé" });
  assert.deepEqual(body, {
    count: 4,
    max_model_len: 512,
    tokens: [256, ...fakeTokens("hé")],
    token_strs: null,
  });
  const tokens = fakeTokens("hé");
  const plain = { prompt: "hé", add_special_tokens: false, return_token_strs: true };
  const { body: bare } = await ask(url, "/tokenize", plain);
  assert.deepEqual(bare.tokens, tokens);
  assert.equal((bare.token_strs as string[])[0], "h");
  assert.deepEqual((await ask(url, "/detokenize", { tokens })).body, { prompt: "hé" });
});

test("messages are tokenized as a chat would read them", async (t) => {
  const { url } = await serve(t);
  const messages = [{ role: "user", content: "hi" }];
  const { body } = await ask(url, "/tokenize", { model: "tuned", messages });
  assert.deepEqual(body.tokens, fakeTokens("<user>hi\n<assistant>"));
  const closed = { messages, add_generation_prompt: false };
  const { body: without } = await ask(url, "/tokenize", closed);
  assert.deepEqual(without.tokens, fakeTokens("<user>hi\n"));
});

test("what cannot be tokenized is refused by its field", async (t) => {
  const { url } = await serve(t);
  const cases: [path: string, body: object, status: number, param: string][] = [
    ["/tokenize", {}, 400, "prompt"],
    ["/tokenize", { prompt: "a", messages: [] }, 400, "prompt"],
    ["/tokenize", { prompt: 5 }, 400, "prompt"],
    ["/tokenize", { messages: [] }, 400, "messages"],
    ["/tokenize", { prompt: "a", model: "other" }, 404, "model"],
    ["/detokenize", {}, 400, "tokens"],
    ["/detokenize", { tokens: [1, 258] }, 400, "tokens[1]"],
  ];
  for (const [path, body, status, param] of cases) {
    const answer = await ask(url, path, body);
    assert.equal(answer.status, status, JSON.stringify(body));
    assert.equal((answer.body.error as { param: string }).param, param, JSON.stringify(body));
  }
  const bare = await serve(t, { context: fakeContextWithoutText });
  const answer = await ask(bare.url, "/tokenize", { prompt: "a" });
  assert.match(JSON.stringify(answer.body), /has no tokenizer.json/);
});
