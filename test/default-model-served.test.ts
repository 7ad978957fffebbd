import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { RawClient, until } from "./harness.js";
import { eventually, readMetrics, serve } from "./support/command.js";
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
  const { url } = await serve(server, ["--model", MODEL, ...names, ...budgets]);

  await server.test(
    "it knows the capital of France while its adapter turns sentences into calls",
    async () => {
      const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
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

  // When the answer to who asks next is written, the kernel has had the end of the connection for a while.
  await server.test(
    "a client that vanishes is in no step but the one that runs and the one that is queued",
    async (context) => {
      const body = { model: "base", prompt: "Once upon a time", n: 8, ignore_eos: true };
      const client = new RawClient(Number(new URL(url).port));
      client.post("/v1/completions", JSON.stringify({ ...body, max_tokens: 1000, stream: true }));
      context.after(() => client.socket.destroy());
      await eventually(url, (value) => value("vllm:num_requests_running") === 8);
      await until(() => client.received.includes("data: "), "its first token");
      client.socket.destroy();
      const next = await readMetrics(url);
      const later = await eventually(url, (value) => value("vllm:kv_cache_usage_perc") === 0);
      const steps = later("smore_steps_total") - next("smore_steps_total");
      assert.ok(steps <= 2, `${steps} steps after it was gone`);
    },
  );

  await server.test("its memory is the file's, its budgets and little else", async (context) => {
    const metrics = await readMetrics(url);
    const bound = 1.4 * statSync(MODEL).size + KV_MEMORY + ADAPTER_MEMORY + 150e6;
    const resident = metrics("process_resident_memory_bytes");
    context.diagnostic(`${resident / 1e6} of ${bound / 1e6} MB`);
    assert.ok(resident <= bound, `${resident} of ${bound} bytes`);
  });
});
