import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { scaledCopy } from "./support/adapters.js";
import { golden, greedyTokens, type Metrics, readMetrics, serve, TINY } from "./support/command.js";

/** Adapters that do not all fit in memory, with the real engine. */

const FP32 = ["--activations", "fp32"];
const RESIDENT_BYTES = "smore_adapter_resident_bytes";

/** Reads the metrics over and over while `work` is under way. */
async function watching<Value>(
  url: string,
  work: Promise<Value>,
  look: (metrics: Metrics) => void,
): Promise<Value> {
  const ended = work.then(
    () => true,
    () => true,
  );
  do look(await readMetrics(url));
  while (!(await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 2, false))])));
  return work;
}

/** Options for eight adapters of one size, no two alike. */
function eightAdapters(context: TestContext): string[] {
  const folder = mkdtempSync(join(tmpdir(), "smore-eight-"));
  context.after(() => rmSync(folder, { recursive: true }));
  return Array.from({ length: 8 }, (_, i) => {
    const copy = join(folder, `a${i}`);
    scaledCopy(join(TINY, "adapters", "smore-switch"), copy, 1 + i / 8);
    return copy;
  }).flatMap((copy, i) => ["--adapter", `a${i}=${copy}`]);
}

test("32 streams over 8 adapters with memory for 3 say what each says alone", async (context) => {
  const adapters = eightAdapters(context);
  const jobs = Array.from({ length: 32 }, (_, job) => ({
    model: `a${job % 8}`,
    prompt: golden.prompts[job < 16 ? 0 : 1]!,
  }));
  const ask = (url: string, { model, prompt }: (typeof jobs)[number]) =>
    greedyTokens(url, model, prompt);

  const roomy = await serve(context, [...FP32, ...adapters]);
  const alone = [];
  for (const job of jobs) alone.push(await ask(roomy.url, job));
  assert.deepEqual(alone[0], golden.variants["smore-switch"]!.greedy_tokens[0]);
  assert.equal(new Set(alone.map(String)).size, 16, "adapters and prompts all differ");
  const all = await readMetrics(roomy.url);
  assert.equal(all("smore_adapters_resident"), 8);

  const budget = Math.ceil((3 * all(RESIDENT_BYTES)) / 8);
  const { url } = await serve(context, [
    ...[...FP32, ...adapters],
    ...["--adapter-memory", String(budget), "--max-loaded-adapters", "3"],
  ]);
  const [bytes, residents]: [number[], number[]] = [[], []];
  const together = Promise.all(jobs.map((job) => ask(url, job)));
  const got = await watching(url, together, (metrics) => {
    bytes.push(metrics(RESIDENT_BYTES));
    residents.push(metrics("smore_adapters_resident"));
  });
  assert.deepEqual(got, alone);
  assert.ok(Math.max(...bytes) <= budget, `${Math.max(...bytes)} of ${budget} bytes`);
  assert.ok(Math.max(...residents) <= 3, `${residents} adapters`);
  const metrics = await readMetrics(url);
  assert.ok(metrics("smore_expert_evictions_total") > 0, "pages leave for others");
});

test("an adapter larger than its memory is served page by page with the same tokens", async (context) => {
  const budget = 150 * 2 ** 10;
  const { url } = await serve(context, [
    ...[...FP32, "--adapters-dir", join(TINY, "adapters")],
    ...["--adapter-memory", String(budget)],
  ]);
  const wanted = golden.variants["smore-switch"]!.greedy_tokens;
  const bytes: number[] = [];
  const asked = Promise.all(
    golden.prompts.map((prompt) => greedyTokens(url, "smore-switch", prompt)),
  );
  const got = await watching(url, asked, (metrics) => bytes.push(metrics(RESIDENT_BYTES)));
  assert.deepEqual(got, wanted);
  assert.ok(Math.max(...bytes) <= budget, `${Math.max(...bytes)} of ${budget} bytes`);
  const metrics = await readMetrics(url);
  const total = (what: string) => metrics(`smore_expert_${what}_total`);
  const [loads, evictions] = [total("loads"), total("evictions")];
  assert.ok(evictions > 0, "pages leave for others");
  assert.equal(loads - evictions, metrics("smore_adapter_resident_pages"));
  assert.ok(total("misses") > 0, "steps load what they need");
  assert.ok(total("load_bytes") / loads < budget / 10, "a page at a time");
});
