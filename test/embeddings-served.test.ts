import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { exitOf, serve } from "./support/command.js";

// The same routes as embeddings.test.ts, with the real engine.

const ENCODER = fileURLToPath(new URL("../../test/fixtures/encoder", import.meta.url));

test("an embedding does not depend on what else the engine computes", async (t) => {
  const { url } = await serve(t, ["--encoder", ENCODER, "--max-batch-tokens", "32"]);
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
  const prompts = Array.from({ length: 12 }, (_, i) =>
    Array.from({ length: 3 + 7 * i }, (_, at) => (i * 31 + at * 17) % 250),
  );
  const embed = async (input: number[][]) => {
    const { data } = await client.embeddings.create({ model: "tiny", input });
    return data.map(({ embedding }) => embedding);
  };
  const alone = [];
  for (const prompt of prompts) alone.push(...(await embed([prompt])));
  const busy = client.completions.create({ model: "tiny", prompt: [1, 2, 3], max_tokens: 60 });
  const together = await embed(prompts);
  await busy;
  assert.deepEqual(together, alone);
  for (const vector of together) assert.ok(Math.abs(Math.hypot(...vector) - 1) < 1e-5);
  const { data } = await client.embeddings.create({ model: "encoder", input: "red cat" });
  assert.equal(data[0]?.embedding.length, 8);
});

test("an encoder that is none ends the start with one line", async () => {
  const { code, output } = await exitOf(["serve", "--port", "0", "--encoder", "/nowhere"]);
  assert.notEqual(code, 0);
  assert.match(output, /\/nowhere does not exist/);
});
