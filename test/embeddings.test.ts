import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { EncoderThread, type SentenceEncoder } from "../src/encoders/encoder.js";
import { fakeContext, fakeContextWithoutText } from "../src/engine/fake.js";
import { mixOf } from "../src/scheduler/mix.js";
import { post, serve, until } from "./harness.js";

const ENCODER = fileURLToPath(new URL("../../test/fixtures/encoder", import.meta.url));

/** What the fake model pools: how long the prompt is and what it begins with, at length 1. */
function pooled(tokens: readonly number[]): number[] {
  const vector = [tokens.length, tokens[0] ?? 0, 0];
  const length = Math.hypot(...vector);
  return vector.map((value) => value / length);
}

function assertClose(vector: readonly number[] | undefined, wanted: readonly number[]): void {
  assert.equal(vector?.length, wanted.length);
  for (const [i, value] of wanted.entries()) assert.ok(Math.abs(vector![i]! - value) < 1e-6);
}

test("texts are embedded by the pooled model, through the adapter that is named", async (t) => {
  const { client, generator } = await serve(t);
  const answer = await client.embeddings.create({ model: "tuned", input: ["hé", "a"] });
  assert.equal(answer.model, "tuned");
  assert.deepEqual(answer.usage, { prompt_tokens: 6, total_tokens: 6 });
  assertClose(answer.data[0]?.embedding, pooled([256, 104, 195, 169]));
  assertClose(answer.data[1]?.embedding, pooled([256, 97]));
  const [request] = generator.requests;
  assert.deepEqual([request?.mix, request?.pooled, request?.maxTokens], [mixOf(1), true, 0]);
});

test("token ids are embedded, as one input or as many, in either format", async (t) => {
  const { client } = await serve(t);
  const one = await client.embeddings.create({
    model: "fake",
    input: [7, 8],
    encoding_format: "float",
  });
  assertClose(one.data[0]?.embedding, pooled([7, 8]));
  const inputs = Array.from({ length: 40 }, (_, i) => [i + 1]);
  const many = await client.embeddings.create({
    model: "fake",
    input: inputs,
    encoding_format: "base64",
  });
  const last = many.data[39]!;
  assert.equal(last.index, 39);
  const bytes = Buffer.from(last.embedding as unknown as string, "base64");
  assertClose(
    [0, 4, 8].map((at) => bytes.readFloatLE(at)),
    pooled([40]),
  );
});

test("dimensions keeps the first numbers of a vector, at length 1 again", async (t) => {
  const { client } = await serve(t);
  const embed = async (dimensions: number) => {
    const body = { model: "fake", input: [3, 4], dimensions };
    return (await client.embeddings.create(body)).data[0]?.embedding;
  };
  const length = Math.hypot(2, 3);
  assertClose(await embed(2), [2 / length, 3 / length]);
  assertClose(await embed(1), [1]);
  assertClose(await embed(3), pooled([3, 4]));
});

test("an encoder that names its dimensions is cut to no others", async (t) => {
  const thread = await EncoderThread.start(ENCODER, 1);
  t.after(() => thread.close());
  const { name, root, created, maxTokens, width, vocab } = thread;
  const encode = (inputs: readonly string[]) => thread.encode(inputs);
  const encoder = { name, root, created, maxTokens, width, vocab, dimensions: [2, 4], encode };
  const { client } = await serve(t, {
    context: (generator) => fakeContext(generator, { encoder: encoder as SentenceEncoder }),
  });
  const embed = async (dimensions: number) => {
    const body = { model: "encoder", input: "red cat", dimensions };
    return (await client.embeddings.create(body)).data[0]!.embedding;
  };
  const whole = await embed(8);
  const cut = await embed(4);
  const length = Math.hypot(...whole.slice(0, 4));
  assertClose(
    cut,
    whole.slice(0, 4).map((value) => value / length),
  );
  await assert.rejects(embed(3), /dimensions must be one of 2, 4, 8, not 3/);
});

test("a sentence encoder is listed and embeds under its name", async (t) => {
  const encoder = await EncoderThread.start(ENCODER, 1);
  t.after(() => encoder.close());
  const { client } = await serve(t, {
    context: (generator) => fakeContext(generator, { encoder }),
  });
  const names = [];
  for await (const { id } of client.models.list()) names.push(id);
  assert.deepEqual(names, ["fake", "tuned", "encoder"]);
  assert.equal((await client.models.retrieve("encoder")).id, "encoder");
  const answer = await client.embeddings.create({ model: "encoder", input: ["red cat", "sky"] });
  assert.deepEqual(answer.usage, { prompt_tokens: 7, total_tokens: 7 });
  assert.equal(answer.data[1]?.embedding.length, 8);
  await assert.rejects(
    client.embeddings.create({ model: "encoder", input: "cat ".repeat(20) }),
    (error) => error instanceof OpenAI.BadRequestError && error.code === "context_length_exceeded",
  );
  const ids = await client.embeddings.create({ model: "encoder", input: [[4, 7], [9]] });
  assert.deepEqual(ids.usage, { prompt_tokens: 3, total_tokens: 3 });
  for (const [input, param] of [
    [[10], "input[0]"],
    [[[4], [10]], "input[1][0]"],
    [[["a"]], "input[0]"],
    [[[{}]], "input[0]"],
  ] as const) {
    const asked = client.embeddings.create({ model: "encoder", input: input as never });
    await assert.rejects(asked, (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError, String(error));
      assert.equal(error.param, param, JSON.stringify(input));
      return true;
    });
  }
});

test("what cannot be embedded is refused by its field", async (t) => {
  const { url } = await serve(t);
  const cases: [body: object, status: number, param: string][] = [
    [{}, 400, "input"],
    [{ input: "" }, 400, "input"],
    [{ input: [] }, 400, "input"],
    [{ input: ["a", ""] }, 400, "input"],
    [{ input: [[1], "a", {}] }, 400, "input"],
    [{ input: [300] }, 400, "input[0]"],
    [{ input: [[1], [2, 300]] }, 400, "input[1][1]"],
    [{ input: "x".repeat(512) }, 400, "input"],
    [{ input: "a", dimensions: 0 }, 400, "dimensions"],
    [{ input: "a", dimensions: 4 }, 400, "dimensions"],
    [{ input: "a", dimensions: 1.5 }, 400, "dimensions"],
    [{ input: "a", encoding_format: "int8" }, 400, "encoding_format"],
    [{ input: "a", model: "other" }, 404, "model"],
  ];
  for (const [body, status, param] of cases) {
    const response = await post(`${url}/v1/embeddings`, { model: "fake", ...body });
    assert.equal(response.status, status, JSON.stringify(body));
    const { error } = (await response.json()) as { error: { param: string } };
    assert.equal(error.param, param, JSON.stringify(body));
  }
  const bare = await serve(t, { context: fakeContextWithoutText });
  const response = await post(`${bare.url}/v1/embeddings`, { model: "fake", input: "a" });
  assert.match(await response.text(), /input is not supported: text, since the model folder/);
});

test("embeddings whose client leaves, or that take too long, stop", async (t) => {
  const { url, generator } = await serve(t, { startDelayMs: 30_000 });
  const leaving = new AbortController();
  const left = fetch(`${url}/v1/embeddings`, {
    method: "POST",
    body: JSON.stringify({ model: "fake", input: ["a", "b"] }),
    signal: leaving.signal,
  }).catch(() => {});
  await until(() => generator.running === 2, "they run");
  leaving.abort();
  await until(() => generator.cancelled === 2, "they are cancelled");
  await left;
  const body = { model: "fake", input: "a" };
  const late = await post(`${url}/v1/embeddings`, body, { "x-request-timeout": "0.05" });
  assert.equal(late.status, 504);
  assert.equal(generator.running, 0);
});
