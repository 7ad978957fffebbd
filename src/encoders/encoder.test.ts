import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Worker } from "node:worker_threads";
import { ModelError } from "../models/model-error.js";
import { EncoderThread } from "./encoder.js";
import { findEncoder } from "./files.js";
import type { EncoderAnswer } from "./messages.js";

const FIXTURE = fileURLToPath(new URL("../../../test/fixtures/encoder", import.meta.url));

/** The fixture's embedding table, as make_encoder.py fills it. */
function row(token: number): number[] {
  return Array.from({ length: 8 }, (_, i) => (((7 * token + 3 * i) % 11) - 5) / 4);
}

/** Mean of the rows, at length 1. */
function expected(tokens: readonly number[]): number[] {
  const sums = row(0).map((_, i) => tokens.reduce((sum, token) => sum + row(token)[i]!, 0));
  const length = Math.hypot(...sums);
  return sums.map((sum) => sum / length);
}

function assertClose(vector: Float32Array | undefined, wanted: readonly number[]): void {
  assert.equal(vector?.length, wanted.length);
  for (const [i, value] of wanted.entries()) assert.ok(Math.abs(vector![i]! - value) < 1e-6);
}

async function start(t: TestContext): Promise<EncoderThread> {
  const encoder = await EncoderThread.start(FIXTURE, 1);
  t.after(() => encoder.close());
  return encoder;
}

function folder(t: TestContext, files: Readonly<Record<string, string>>): string {
  const path = mkdtempSync(join(tmpdir(), "smore-encoder-"));
  t.after(() => rmSync(path, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(path, name, ".."), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  return path;
}

test("texts become the means of their tokens' rows, whatever they are batched with", async (t) => {
  const encoder = await start(t);
  assert.equal(encoder.name, "encoder");
  assert.equal(encoder.maxTokens, 12);
  const { vectors, tokens } = await encoder.encode(["red cat", "sky", [4, 7]]);
  assert.equal(tokens, 9);
  assertClose(vectors[0], expected([2, 4, 7, 3]));
  assertClose(vectors[1], expected([2, 9, 3]));
  assertClose(vectors[2], expected([4, 7]));
});

test("orders that come together are answered each with its own", async (t) => {
  const encoder = await start(t);
  const words = ["red", "green", "blue", "cat", "dog", "sky"];
  const texts = Array.from({ length: 60 }, (_, i) => `${words[i % 6]} `.repeat(1 + (i % 9)));
  const answers = await Promise.all(texts.map((text) => encoder.encode([text])));
  for (const [i, { vectors }] of answers.entries()) {
    const repeated = Array.from({ length: 1 + (i % 9) }, () => 4 + (i % 6));
    assertClose(vectors[0], expected([2, ...repeated, 3]));
  }
});

test("an input that the model cannot take fails alone", async (t) => {
  const encoder = await start(t);
  const [long, good] = await Promise.allSettled([
    encoder.encode(["cat ".repeat(11)]),
    encoder.encode(["cat"]),
  ]);
  assert.match(
    String((long as PromiseRejectedResult).reason),
    /maximum context length is 12 tokens/,
  );
  assert.equal(good.status, "fulfilled");
});

test("an input that the tokenizer cannot take fails alone, and the thread goes on", async (t) => {
  const path = mkdtempSync(join(tmpdir(), "smore-encoder-"));
  t.after(() => rmSync(path, { recursive: true }));
  cpSync(FIXTURE, path, { recursive: true });
  const file = join(path, "tokenizer.json");
  const fixture = JSON.parse(readFileSync(file, "utf8"));
  fixture.model.unk_token = "[NONE]"; // a word that is not in the vocabulary is an error now
  fixture.model.vocab.width = 9; // the word that the thread tries itself
  writeFileSync(file, JSON.stringify(fixture));
  const encoder = await EncoderThread.start(path, 1);
  t.after(() => encoder.close());
  const [unknown, good] = await Promise.allSettled([
    encoder.encode(["zebra"]),
    encoder.encode(["cat"]),
  ]);
  assert.match(
    String((unknown as PromiseRejectedResult).reason),
    /The encoder failed: WordLevel error/,
  );
  assert.equal(good.status, "fulfilled");
  assert.equal((await encoder.encode(["cat"])).tokens, 3);
});

test("a thread that ends by itself is told of, and what waits or comes later is refused", async (t) => {
  let thread: Worker | undefined;
  const onWorker = (worker: Worker) => {
    thread = worker;
  };
  process.once("worker", onWorker);
  const faults: string[] = [];
  const encoder = await EncoderThread.start(FIXTURE, 1, ({ message }) => faults.push(message));
  t.after(() => encoder.close());
  const waiting = encoder.encode(["cat"]);
  thread!.emit("error", new Error("out of memory"));
  await assert.rejects(waiting, { code: "engine_failed" });
  assert.deepEqual(faults, ["out of memory"]);
  await assert.rejects(encoder.encode(["cat"]), {
    code: "engine_stopped",
    message: /The encoder has stopped/,
  });
});

test("what is no encoder is refused with what is missing", async (t) => {
  assert.throws(() => findEncoder("/nowhere"), /\/nowhere does not exist/);
  const empty = folder(t, { "tokenizer.json": "{}" });
  assert.throws(() => findEncoder(empty), /has no model.onnx and no onnx\/model.onnx/);
  const alone = folder(t, { "onnx/model.onnx": "" });
  assert.throws(() => findEncoder(alone), /has no tokenizer.json beside the model/);
  const broken = folder(t, { "model.onnx": "no", "tokenizer.json": "{}" });
  await assert.rejects(EncoderThread.start(broken, 1), {
    name: ModelError.name,
    message: /tokenizer\.json cannot be read: /,
  });
});

test("a pipe in the place of a model or its tokenizer holds nobody up", async (t) => {
  const path = folder(t, { "tokenizer.json": "{}" });
  execFileSync("mkfifo", [join(path, "model.onnx")]);
  assert.throws(() => findEncoder(path), /model\.onnx: is not a regular file/);
  const named = join(path, "model.onnx");
  assert.throws(() => findEncoder(named), /model\.onnx: is not a regular file/);
  const other = folder(t, { "model.onnx": "" });
  execFileSync("mkfifo", [join(other, "tokenizer.json")]);
  await assert.rejects(EncoderThread.start(other, 1), /tokenizer\.json: is not a regular file/);
});

test("what nobody waits for any more is not encoded", async (t) => {
  const answered: number[] = [];
  process.once("worker", (worker: Worker) => {
    worker.on("message", (answer: EncoderAnswer) => {
      if (answer.kind !== "ready") answered.push(answer.id);
    });
  });
  const encoder = await start(t);
  const leave = new AbortController();
  const gone = leave.signal;
  // Hundreds of runs, of which the first have begun when the client leaves; then those of another client.
  const many = Array.from({ length: 4096 }, () => "red cat");
  const left = [encoder.encode(many, { gone }), encoder.encode(many, { gone })];
  await assert.rejects(encoder.encode(["cat"]), { code: "overloaded" });
  const reason = new Error("the client left");
  const refused = left.map((each) => assert.rejects(each, reason));
  leave.abort(reason);
  await Promise.all(refused);
  await assert.rejects(encoder.encode(["cat"], { gone }), reason);
  const [all, one] = await Promise.all([encoder.encode(many), encoder.encode(["cat"])]);
  assert.deepEqual([all.vectors.length, one.tokens], [4096, 3]);
  assert.deepEqual(answered, [2, 3]);
});

test("the files beside a model say how long an input may be and how it is pooled", (t) => {
  const path = folder(t, {
    "onnx/model.onnx": "",
    "tokenizer.json": "{}",
    "tokenizer_config.json": '{"model_max_length": 99}',
    "1_Pooling/config.json": '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}',
  });
  const { maxTokens, pooling } = findEncoder(path);
  assert.deepEqual([maxTokens, pooling], [99, "first"]);
  assert.equal(findEncoder(join(path, "onnx/model.onnx")).name, "model");
  writeFileSync(join(path, "1_Pooling/config.json"), '{"pooling_mode_max_tokens": true}');
  assert.throws(() => findEncoder(path), /not pooling_mode_max_tokens/);
});

test("the lengths that vectors may be cut to are those that the model names", (t) => {
  const path = folder(t, { "model.onnx": "", "tokenizer.json": "{}" });
  assert.deepEqual(findEncoder(path).dimensions, []);
  writeFileSync(join(path, "config.json"), '{"matryoshka_dimensions": [64, 128]}');
  assert.deepEqual(findEncoder(path).dimensions, [64, 128]);
  writeFileSync(join(path, "config.json"), '{"matryoshka_dimensions": "all"}');
  assert.throws(() => findEncoder(path), /config\.json: matryoshka_dimensions must be an array/);
});
