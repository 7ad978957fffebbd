import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { fakeContext } from "../src/engine/fake.js";
import { serve } from "./harness.js";
import { TINY } from "./support/command.js";

/** The load test as people run it, against the fake model. */

const MAIN = fileURLToPath(new URL("../loadtest/main.js", import.meta.url));
const HELD_SERVER = fileURLToPath(new URL("./support/held-server.js", import.meta.url));

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

test("adapters that cannot be written are told in a line", async () => {
  const model = ["--model", join(TINY, "model")];
  for (const tool of [["adapters"], ["serving", "--adapter-dir"], ["plots", "--adapter-dir"]]) {
    const { code, output } = await loadtest([...tool, "/dev/null/x", ...model]);
    assert.equal(code, 1, output);
    assert.match(
      output,
      /^\/dev\/null\/x\S*: adapters cannot be written there: ENOTDIR: [^\n]*\n$/,
    );
  }
});

test("a model that is not there is told in a line", async () => {
  for (const tool of [["adapters", "/dev/null/x"], ["serving"], ["plots"]]) {
    const { code, output } = await loadtest([...tool, "--model", "/dev/null/x"]);
    assert.equal(code, 1, output);
    assert.match(output, /^no model "\/dev\/null\/x": [^\n]*\n$/);
  }
});

test("figures that could not be written at the end are not measured", async () => {
  for (const tool of ["serving", "soak", "bars", "peer", "compare", "http"]) {
    for (const path of ["/dev/null/x/y.json", "/dev/null/x", "/nowhere/x", "/tmp", ""]) {
      const { code, output } = await loadtest([tool, "--output", path]);
      assert.equal(code, 2, output);
      assert.match(output, /^--output must be a file, in a folder that is there[^\n]*\n$/);
    }
  }
});

test("a race with what is not llama.cpp ends with 2 and a line", async (t) => {
  const root = folder(t);
  const peer = join(root, "run");
  writeFileSync(peer, "#!/bin/sh\necho hello\n", { mode: 0o755 });
  const formats = ["--formats", "Q8_0", "--format-dir", root];
  const { code, output } = await loadtest([
    "peer",
    peer,
    "--model",
    join(TINY, "model"),
    ...formats,
  ]);
  assert.equal(code, 2, output);
  assert.match(output, /^\S+ llama-quantize [^\n]* Q8_0: wrote no file, as llama\.cpp's does\n$/);
});

test("what does not stream is measured by autocannon", async (t) => {
  const { url } = await serve(t);
  const { code, output } = await loadtest([
    ...["http", "--base-url", url, "--amount", "20", "--connections", "2"],
  ]);
  assert.equal(code, 0, output);
  assert.equal(output.trimEnd().split("\n").length, 8);
});

/** The fake model in a process of its own, which tells what its callbacks take. */
async function heldServer(context: TestContext): Promise<string> {
  const child = spawn(process.execPath, [HELD_SERVER], { stdio: ["ignore", "pipe", "inherit"] });
  context.after(() => child.kill("SIGKILL"));
  const [port] = (await once(child.stdout, "data")) as [Buffer];
  return `http://127.0.0.1:${Number(port.toString())}`;
}

test("no callback computes over 5 ms for bodies, schemas, expressions and tools of any size", async (t) => {
  const url = await heldServer(t);
  // A process that has just begun compiles its code on the event loop as it comes to it: all is run twice before.
  const measured = ["--rounds", "2", "--warm-ups", "2"];
  for (const only of ["token ids", "schema", "expressions", "tools", "models"]) {
    const args = ["hold", "--base-url", url, ...measured, "--only", only];
    const { output } = await loadtest(args);
    assert.match(output, /^0 of [1-9]\d* callbacks computed over 5 ms on the event loop$/m, output);
  }
});

/** A server of nothing but a histogram, in which each scrape finds one more callback, of so many seconds. */
async function histogramServer(context: TestContext, computed: number, passed: number) {
  let callbacks = 0;
  const rows = (name: string, seconds: number) =>
    ["0.005", "0.01", "+Inf"].map((le) => {
      const count = seconds <= Number(le.replace("+Inf", "Infinity")) ? callbacks : 0;
      return `${name}_bucket{le="${le}",callback="request"} ${count}`;
    });
  const server = createServer(({ url }, response) => {
    if (url === "/metrics") {
      callbacks += 1;
      const cpu = rows("smore_event_loop_hold_cpu_seconds", computed);
      response.end([...cpu, ...rows("smore_event_loop_hold_seconds", passed)].join("\n"));
    } else {
      response.end(JSON.stringify({ data: [{ id: "none", max_model_len: 512 }] }));
    }
  });
  context.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("a callback that computed over 5 ms ends the test with 1, and one that waited does not", async (t) => {
  const args = (url: string) => ["hold", "--base-url", url, "--rounds", "1", "--only", "probes"];
  const computed = await loadtest(args(await histogramServer(t, 0.007, 0.007)));
  assert.equal(computed.code, 1, computed.output);
  assert.match(computed.output, /^1 of 1 callbacks computed over 5 ms on the event loop$/m);
  assert.match(computed.output, /^nothing but probes +200 +\d+ +1 +1 +1 +request <= 10 ms$/m);
  const waited = await loadtest(args(await histogramServer(t, 0.004, 0.007)));
  assert.equal(waited.code, 0, waited.output);
  assert.match(waited.output, /^0 of 1 callbacks computed over 5 ms on the event loop$/m);
  assert.match(waited.output, /^1 took over 5 ms with what they waited for a core$/m);
});
