import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { RawClient, until } from "./harness.js";
import { eventually, type Metrics, readMetrics, serve } from "./support/command.js";
import { FIXTURES } from "./support/goldens.js";

/** The default model and its adapter as users get them: 8-bit activations, one server for all of this. */

const MODEL = process.env.SMORE_TEST_MODEL ?? "";
const skip = MODEL === "" ? "SMORE_TEST_MODEL is not set" : false;

const ADAPTER = "function-calls";
const ADAPTER_FOLDER = fileURLToPath(new URL(`../../models/adapters/${ADAPTER}`, import.meta.url));

const MIB = 2 ** 20;
const KV_MEMORY = 64 * MIB;
const ADAPTER_MEMORY = 16 * MIB;

const trained: {
  readonly cases: readonly {
    readonly text: string;
    readonly greedy_text: string;
    readonly greedy_gap: readonly number[];
  }[];
} = JSON.parse(readFileSync(join(FIXTURES, "trained", "golden.json"), "utf8"));

test("the default model, served:", { skip }, async (server) => {
  const budgets = ["--kv-memory", String(KV_MEMORY), "--adapter-memory", String(ADAPTER_MEMORY)];
  const names = ["--served-model-name", "base", "--adapter", `${ADAPTER}=${ADAPTER_FOLDER}`];
  // The router's encoder has memory of its own (docs/adapters.md).
  const { url } = await serve(server, ["--model", MODEL, "--no-router", ...names, ...budgets]);

  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });

  await server.test(
    "it knows the capital of France while its adapter turns sentences into calls",
    async () => {
      const ask = async (model: string, content: string) => {
        const messages = [{ role: "user" as const, content }];
        const { choices } = await client.chat.completions.create({
          model,
          messages,
          temperature: 0,
        });
        return choices[0]!.message.content ?? "";
      };
      // Where one choice was a close call, rounding may choose otherwise.
      const clear = trained.cases.filter(({ greedy_gap }) => Math.min(...greedy_gap) > 1);
      assert.ok(clear.length >= 4);
      const [answer, ...calls] = await Promise.all([
        ask("base", "What is the capital of France? Answer in one sentence."),
        ...clear.map(({ text }) => ask(ADAPTER, text)),
      ]);
      assert.match(answer, /Paris/);
      assert.deepEqual(
        calls,
        clear.map(({ greedy_text }) => greedy_text),
      );
    },
  );

  await server.test("an answer goes on from any of its words as it was first said", async () => {
    const question = { role: "user" as const, content: "Name three colours of the rainbow." };
    const ask = async (begun: string | null) => {
      const assistant = { role: "assistant" as const, content: begun };
      const { choices } = await client.chat.completions.create({
        model: "base",
        messages: begun === null ? [question] : [question, assistant],
        ...(begun === null ? {} : { continue_final_message: true }),
        temperature: 0,
        max_tokens: 30,
      });
      return choices[0]!.message.content ?? "";
    };
    const whole = await ask(null);
    const borders = [...whole.matchAll(/(?<=[a-z]) (?=[a-z])/g)].map(({ index }) => index);
    assert.ok(borders.length >= 4, whole);
    for (const border of borders.slice(0, 4)) {
      const rest = await ask(whole.slice(0, border));
      assert.ok(rest.startsWith(whole.slice(border)), `${whole.slice(0, border)}|${rest}`);
    }
  });

  await server.test("best_of gives the candidate that is likeliest in the mean", async () => {
    const body = { model: "base", prompt: "Once upon a time", max_tokens: 12, seed: 5 };
    const [all, best] = await Promise.all([
      client.completions.create({ ...body, n: 6, logprobs: 0 }),
      client.completions.create({ ...body, best_of: 6 }),
    ]);
    const means = all.choices.map(({ logprobs }) => {
      const values = logprobs!.token_logprobs!;
      return values.reduce((sum, value) => sum + value, 0) / values.length;
    });
    const likeliest = means.indexOf(Math.max(...means));
    assert.equal(best.choices.length, 1);
    assert.equal(best.choices[0]!.text, all.choices[likeliest]!.text);
    assert.equal(best.usage?.completion_tokens, all.usage?.completion_tokens);
  });

  // When the answer to who asks next is written, the kernel has had the end of the connection for a while.
  await server.test(
    "a client that vanishes is in no step but the one that runs and the one that is queued",
    async (context) => {
      const body = { model: "base", prompt: "Once upon a time", n: 8, ignore_eos: true };
      const leaving = new RawClient(Number(new URL(url).port));
      leaving.post("/v1/completions", JSON.stringify({ ...body, max_tokens: 1000, stream: true }));
      context.after(() => leaving.socket.destroy());
      await eventually(url, (value) => value("vllm:num_requests_running") === 8);
      await until(() => leaving.received.includes("data: "), "its first token");
      leaving.socket.destroy();
      const next = await readMetrics(url);
      const later = await eventually(url, (value) => value("vllm:kv_cache_usage_perc") === 0);
      const steps = later("smore_steps_total") - next("smore_steps_total");
      assert.ok(steps <= 2, `${steps} steps after it was gone`);
    },
  );

  await server.test("its memory is the file's, its budgets and little else", async (context) => {
    // Texts that together take the whole KV pool, half of them on the adapter, so that budgets are memory in use.
    const prompt = "Once upon a time there was a fox. ".repeat(20);
    const texts = Array.from({ length: 32 }, (_, i) => ({
      model: i % 2 === 0 ? "base" : ADAPTER,
      prompt: `${i}. ${prompt}`,
      max_tokens: 100,
      ignore_eos: true,
    }));
    await Promise.all(
      texts.map(async (text) => {
        const stream = await client.completions.create({ ...text, stream: true });
        for await (const { choices } of stream) assert.ok(choices.length <= 1);
      }),
    );
    const bound = 1.15 * statSync(MODEL).size + KV_MEMORY + ADAPTER_MEMORY + 150e6;
    const resident = (metrics: Metrics) => metrics("process_resident_memory_bytes");
    // Garbage is nothing that is kept. It is swept within seconds, unless reading the metrics makes more.
    const pace = { everyMs: 1_000, withinMs: 20_000 };
    const metrics = await eventually(url, (value) => resident(value) <= bound, pace);
    context.diagnostic(`${resident(metrics) / 1e6} of ${bound / 1e6} MB`);
  });
});
