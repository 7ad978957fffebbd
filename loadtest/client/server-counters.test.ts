import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { CommandError } from "../../src/cli/command.js";
import { parseCounters, readMetrics, serverView } from "./server-counters.js";

const metrics = (tokens: number) => `# HELP vllm:generation_tokens_total Tokens sampled.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{model_name="m, {x} 1",engine="0"} ${tokens}
vllm:prompt_tokens_total{model_name="m"} 7e1
vllm:request_success_total{finished_reason="stop"} 2
vllm:request_success_total{finished_reason="length"} 3
vllm:time_to_first_token_seconds_sum{model_name="m"} ${tokens / 100}
vllm:time_to_first_token_seconds_count{model_name="m"} ${tokens / 10}
process_cpu_seconds_total ${tokens / 1000}
process_resident_memory_bytes ${tokens * 1e6}
`;

test("series of one name add up", () => {
  const counters = parseCounters(metrics(100))!;
  assert.deepEqual(
    [counters.requests, counters.generationTokens, counters.promptTokens],
    [5, 100, 70],
  );
});

test("metrics of other names are none", () => {
  assert.equal(parseCounters("llamacpp:prompt_tokens_total 3\n"), null);
});

test("what the server counted during a run is held against the client's counts", () => {
  const [before, after] = [parseCounters(metrics(100))!, parseCounters(metrics(300))!];
  const client = { requests: 0, inputTokens: 0, outputTokens: 200 };
  const view = serverView(before, after, client);
  assert.deepEqual([view.generation_tokens, view.resident_mb, view.agrees], [200, 300, true]);
  assert.ok(
    Math.abs(view.mean_ttft_ms - 100) < 1e-9 && Math.abs(view.cpu_us_per_token! - 1000) < 1e-9,
  );
  assert.equal(serverView(before, after, { ...client, outputTokens: 199 }).agrees, false);
});

test("a metric that a server does not have, or metrics that it refuses, are an error and no number", async (context) => {
  const server = createServer((request, response) => {
    response.statusCode = request.headers.host?.startsWith("localhost") ? 503 : 200;
    response.end(metrics(100));
  }).listen(0, "127.0.0.1");
  context.after(() => server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const read = await readMetrics(`http://127.0.0.1:${port}`);
  assert.equal(read("vllm:request_success_total"), 5);
  assert.equal(read('vllm:request_success_total{finished_reason="length"}'), 3);
  assert.throws(
    () => read("process_open_fds"),
    new CommandError(`http://127.0.0.1:${port}/metrics has no process_open_fds`),
  );
  await assert.rejects(readMetrics(`http://localhost:${port}`), /answers 503/);
});
