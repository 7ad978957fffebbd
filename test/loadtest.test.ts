import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { fakeContext } from "../src/engine/fake.js";
import { serve } from "./harness.js";
import { serve as serveTiny } from "./support/command.js";

/** The load test as people run it, against the fake model. */

const MAIN = fileURLToPath(new URL("../loadtest/main.js", import.meta.url));

function loadtest(args: readonly string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), output: stdout + stderr });
    });
  });
}

function folder(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "smore-loadtest-"));
  context.after(() => rmSync(path, { recursive: true }));
  return path;
}

test("a closed loop over adapters counts every token and saves what vLLM's client saves", async (t) => {
  const { url, generator } = await serve(t, {
    context: (own) => fakeContext(own, {}, ["a", "b"]),
    tokenDelayMs: 1,
  });
  const results = folder(t);
  const { code, output } = await loadtest([
    ...["--base-url", url, "--num-prompts", "20", "--num-warmups", "2", "--max-concurrency", "4"],
    ...["--lora-modules", "a", "b", "--lora-assignment", "round-robin", "--ignore-eos"],
    ...["--random-input-len", "5", "--random-output-len", "40", "--metric-percentiles", "50,99"],
    ...["--goodput", "ttft:10000", "e2el:0", "--metadata", "machine=test", "--label", "closed"],
    ...["--save-result", "--save-detailed", "--result-dir", results],
  ]);
  assert.equal(code, 0, output);
  assert.match(
    output,
    /= Serving Benchmark Result =+\nSuccessful requests: +20\nFailed requests: +0\n/,
  );
  assert.match(output, /Server's counters: +none of vLLM's names/);
  assert.equal(generator.requests.length, 22);
  assert.ok(generator.requests.every(({ ignoreEos }) => ignoreEos));
  const [file = ""] = readdirSync(results);
  assert.match(file, /^closed-infqps-concurrency4-fake-\d{8}-\d{6}\.json$/);
  const result = JSON.parse(readFileSync(join(results, file), "utf8")) as Record<string, unknown>;
  assert.deepEqual(
    [result.completed, result.total_output_tokens, result.request_goodput, result.tokens_from],
    [20, 800, 0, "usage"],
  );
  assert.deepEqual([result.machine, result.max_concurrency], ["test", 4]);
  assert.ok((result.p50_ttft_ms as number) <= (result.p99_ttft_ms as number));
  assert.ok((result.mean_tpot_ms as number) >= 1);
  const models = result.models as string[];
  assert.deepEqual([models.length, models[0], models[1]], [20, "a", "b"]);
  assert.ok((result.output_lens as number[]).every((length) => length === 40));

  const page = join(results, "report.html");
  const made = await loadtest(["report", join(results, file), "--output", page]);
  assert.equal(made.code, 0, made.output);
  const html = readFileSync(page, "utf8");
  assert.equal(html.match(/<svg /g)?.length, 3);
  assert.match(html, /<td>closed<\/td><td>fake<\/td><td>4<\/td>/);
});

test("an open loop of chats keeps its rate", async (t) => {
  const { url } = await serve(t);
  const started = performance.now();
  const { code, output } = await loadtest([
    ...["--base-url", url, "--backend", "openai-chat", "--num-prompts", "10"],
    ...["--request-rate", "20", "--burstiness", "0.5", "--random-output-len", "4"],
  ]);
  assert.equal(code, 0, output);
  assert.match(output, /Request rate configured \(RPS\): +20\n/);
  assert.ok(performance.now() - started >= 500);
});

test("failed requests are told and end with 1; wrong usage ends with 2", async (t) => {
  const { url } = await serve(t);
  const failed = await loadtest(["--base-url", url, "--num-prompts", "3", "--model", "nobody"]);
  assert.equal(failed.code, 1);
  assert.match(failed.output, /3 failed: HTTP 404: .*`nobody` does not exist/);
  const refused = await loadtest(["--base-url", "http://127.0.0.1:2"]);
  assert.equal(refused.code, 1);
  assert.match(refused.output, /^http:\/\/127\.0\.0\.1:2: no answer: .*ECONNREFUSED/);
  const wrong = await loadtest(["--goodput", "speed:3"]);
  assert.deepEqual(wrong, {
    code: 2,
    output: '--goodput knows ttft, tpot, itl, e2el, not "speed"\n',
  });
});

test("what does not stream is measured by autocannon", async (t) => {
  const { url } = await serve(t);
  const { code, output } = await loadtest([
    ...["http", "--base-url", url, "--amount", "20", "--connections", "2"],
  ]);
  assert.equal(code, 0, output);
  assert.equal(output.trimEnd().split("\n").length, 8);
});

test("what holds the event loop is told by the server's own histogram", async (t) => {
  const { url } = await serveTiny(t, []);
  const { code, output } = await loadtest([
    "hold",
    "--base-url",
    url,
    "--rounds",
    "1",
    "--only",
    "token ids",
  ]);
  assert.equal(code, 0, output);
  assert.match(output, /^8 MB of token ids +400 +\d+ +[1-9]\d* +\d+ +\d+ +\w+ <= \d+/m);
  assert.match(output, /^a full window of token ids +200 /m);
  assert.match(output, /^\d+ of [1-9]\d* callbacks computed over 5 ms on the event loop$/m);
});
