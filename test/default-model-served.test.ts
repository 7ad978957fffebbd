import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { complete, eventually, readMetrics, serve } from "./support/command.js";
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

  // How many steps run after the server has noticed is the loop's own test; here the socket's way to
  // it is in between, and this process may wait for its turn meanwhile.
  await server.test("a client that vanishes frees its sequences at once", async (context) => {
    const maxTokens = 1000;
    const body = { model: "base", prompt: "Once upon a time", n: 8, ignore_eos: true };
    const response = await complete(url, { ...body, max_tokens: maxTokens, stream: true });
    const reader = response.body!.getReader();
    await reader.read();
    const running = await eventually(url, (value) => value("vllm:num_requests_running") === 8);
    await reader.cancel();
    const freed = await eventually(url, (value) => value("vllm:num_requests_running") === 0);
    const steps = freed("smore_steps_total") - running("smore_steps_total");
    context.diagnostic(`${steps} steps from before it left until it was known to be free`);
    assert.ok(steps < maxTokens / 10, `${steps} steps of ${maxTokens} had run`);
  });

  await server.test("its memory is the file's, its budgets and little else", async (context) => {
    const metrics = await readMetrics(url);
    const bound = 1.4 * statSync(MODEL).size + KV_MEMORY + ADAPTER_MEMORY + 150e6;
    const resident = metrics("process_resident_memory_bytes");
    context.diagnostic(`${resident / 1e6} of ${bound / 1e6} MB`);
    assert.ok(resident <= bound, `${resident} of ${bound} bytes`);
  });
});
