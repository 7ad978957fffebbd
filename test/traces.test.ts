import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { WebSocket } from "ws";
import { fakeContext } from "../src/engine/fake.js";
import { post, printed, serve as serveFake, until } from "./harness.js";
import { complete, eventually, serve, TINY } from "./support/command.js";

/** Traces, from a caller's header to a collector, and the ids in the log that go with them. */

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER = "00f067aa0ba902b7";
const HEADERS = {
  traceparent: `00-${TRACE}-${CALLER}-01`,
  tracestate: "vendor=value",
  "x-request-id": "request-17",
};

type Value = { stringValue?: string; intValue?: number; arrayValue?: { values: Value[] } };

/** As OTLP has it in JSON. */
interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly { readonly key: string; readonly value: Value }[];
  readonly status: { readonly code?: number };
}

const SERVER = 2;
const ERROR = 2;

/** A collector that keeps the spans it gets, and the names of those who send them. */
async function collector(test: TestContext) {
  const spans: Span[] = [];
  const services = new Set<string>();
  const server = createServer(async (request, response) => {
    assert.equal(`${request.method} ${request.url}`, "POST /v1/traces");
    assert.equal(request.headers["content-type"], "application/json");
    let text = "";
    for await (const chunk of request.setEncoding("utf8")) text += chunk;
    for (const { resource, scopeSpans } of JSON.parse(text).resourceSpans) {
      services.add(attributesOf(resource)["service.name"] as string);
      for (const scope of scopeSpans) spans.push(...scope.spans);
    }
    response.setHeader("content-type", "application/json").end("{}");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  test.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, spans, services };
}

function attributesOf({ attributes }: Pick<Span, "attributes">): Record<string, unknown> {
  const plain = ({ stringValue, intValue, arrayValue }: Value): unknown =>
    stringValue ?? intValue ?? arrayValue?.values.map(plain);
  return Object.fromEntries(attributes.map(({ key, value }) => [key, plain(value)]));
}

test("a request's phases reach the collector, below the caller's span", async (t) => {
  const { url: endpoint, spans, services } = await collector(t);
  const adapters = ["--adapters-dir", join(TINY, "adapters")];
  const { url } = await serve(t, [...adapters, "--otlp-endpoint", endpoint]);
  const body = { model: "lora", prompt: [1, 2, 3, 4], max_tokens: 5 };
  const response = await complete(url, body, HEADERS);
  const [, trace, root] = response.headers.get("traceparent")?.split("-") ?? [];
  assert.equal(trace, TRACE);
  assert.equal(response.headers.get("tracestate"), "vendor=value");
  await until(() => spans.length >= 6, "the collector has the spans", 10_000);

  const named = (name: string) => {
    const found = spans.filter((span) => span.name === name);
    assert.equal(found.length, 1, name);
    return found[0]!;
  };
  const request = named("POST /v1/completions");
  assert.deepEqual(
    [request.traceId, request.spanId, request.parentSpanId, request.kind],
    [TRACE, root, CALLER, SERVER],
  );
  assert.deepEqual(attributesOf(request), {
    "http.request.method": "POST",
    "http.route": "/v1/completions",
    "url.path": "/v1/completions",
    "smore.request_id": "request-17",
    "http.response.status_code": 200,
  });
  const generation = named("text_completion lora");
  assert.equal(generation.parentSpanId, root);
  assert.deepEqual(attributesOf(generation), {
    "gen_ai.operation.name": "text_completion",
    "gen_ai.request.model": "lora",
    "gen_ai.request.max_tokens": 5,
    "smore.adapter": "lora",
    "gen_ai.usage.input_tokens": 4,
    "gen_ai.usage.cache_read.input_tokens": 0,
    "gen_ai.usage.output_tokens": 5,
    "gen_ai.response.finish_reasons": ["length"],
  });
  assert.equal(named("tokenize").parentSpanId, root);
  const phases = ["queue", "prefill", "decode"].map(named);
  for (const phase of phases) {
    assert.deepEqual([phase.traceId, phase.parentSpanId], [TRACE, generation.spanId]);
    assert.equal(attributesOf(phase)["smore.adapter"], "lora");
  }
  const [queue, prefill, decode] = phases as [Span, Span, Span];
  assert.equal(attributesOf(prefill)["gen_ai.usage.input_tokens"], 4);
  assert.equal(attributesOf(decode)["gen_ai.usage.output_tokens"], 5);
  const order = [request, named("tokenize"), queue, prefill, decode];
  for (const [i, later] of order.entries()) {
    const earlier = order[i - 1] ?? later;
    assert.ok(BigInt(earlier.startTimeUnixNano) <= BigInt(later.startTimeUnixNano));
    assert.ok(BigInt(later.startTimeUnixNano) <= BigInt(later.endTimeUnixNano));
    assert.ok(BigInt(later.endTimeUnixNano) <= BigInt(request.endTimeUnixNano));
  }
  assert.deepEqual([...services], ["smore-serve"]);
  await eventually(url, (metrics) => metrics("smore_trace_spans_sent_total") >= 6);
});

test("a generation through several adapters names them all, but for those without effect", async (t) => {
  const { url: endpoint, spans } = await collector(t);
  const adapters = ["--adapters-dir", join(TINY, "adapters")];
  const { child, url } = await serve(t, [...adapters, "--otlp-endpoint", endpoint]);
  const ask = async (fields: object) => {
    const answer = await complete(url, { prompt: [1, 2], max_tokens: 2, ...fields });
    assert.equal(answer.status, 200, await answer.text());
  };
  const named = (...names: string[]) => names.map((name) => ({ name }));
  await ask({ model: "tiny", adapters: named("smore-switch", "lora") });
  await ask({ model: "tiny", adapters: [...named("lora"), { name: "smore-switch", scale: 0 }] });
  await ask({ model: "lora", adapters: named("lora") });
  await ask({ model: "tiny" });
  child.kill("SIGTERM");
  await once(child, "exit");
  const traced = (name: string) =>
    spans
      .filter((span) => span.name === name)
      .map((span) => String(attributesOf(span)["smore.adapter"]).split(",").sort().join());
  for (const phase of ["queue", "prefill", "decode"]) {
    assert.deepEqual(traced(phase), ["lora,smore-switch", "lora", "lora", "undefined"], phase);
  }
  assert.deepEqual(traced("text_completion tiny"), ["lora,smore-switch", "lora", "undefined"]);
  assert.deepEqual(traced("text_completion lora"), ["lora"]);
});

test("a WebSocket's generations, refusals and steps are traced too, and what waits is sent at the end", async (t) => {
  const { url: endpoint, spans } = await collector(t);
  const options = ["--otlp-endpoint", endpoint, "--otlp-steps"];
  const { child, url } = await serve(t, options);
  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/stream`, { headers: HEADERS });
  await once(socket, "open");
  const ask = (id: number, fields: object) =>
    socket.send(JSON.stringify({ id, type: "completion", prompt: [1], max_tokens: 2, ...fields }));
  const frames: string[] = [];
  socket.on("message", (data) => frames.push(String(data)));
  ask(1, { model: "tiny" });
  await until(() => frames.at(-1) === '{"id":1,"type":"done"}', "the generation is done");
  ask(2, { model: "none" });
  await until(() => frames.at(-1)?.includes("model_not_found") === true, "the other is refused");
  await fetch(`${url}/livez`);
  child.kill("SIGTERM");
  await once(child, "exit");
  const requests = spans.filter(({ name }) => name === "WS completion");
  assert.deepEqual(
    requests.map((span) => [span.parentSpanId, attributesOf(span)["error.type"]]),
    [
      [CALLER, undefined],
      [CALLER, "model_not_found"],
    ],
  );
  assert.ok(
    requests.every(({ status }) => status.code !== ERROR),
    "a client's fault is none of the server's",
  );
  assert.equal(spans.filter(({ name }) => name === "text_completion tiny").length, 1);
  const steps = spans.filter(({ name }) => name === "step");
  assert.ok(steps.length > 0 && steps.every(({ traceId }) => traceId !== TRACE));
  assert.equal(attributesOf(steps[0]!)["smore.step.rows"], 1);
  assert.equal(spans.filter(({ name }) => name.includes("livez")).length, 0);
});

test("a collector that is gone hurts nobody: its spans are counted, and a line tells why", async (t) => {
  const port = await new Promise<number>((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
  process.env.OTEL_EXPORTER_OTLP_TIMEOUT = "300"; // milliseconds; the server inherits it
  t.after(() => delete process.env.OTEL_EXPORTER_OTLP_TIMEOUT);
  const { child, url, output } = await serve(t, [
    ...["--otlp-endpoint", `http://127.0.0.1:${port}`, "--log-format", "json"],
  ]);
  for (let i = 0; i < 3; i++) {
    const answer = await complete(url, { model: "tiny", prompt: [1, 2], max_tokens: 2 });
    assert.equal(answer.status, 200);
    await answer.text();
  }
  const dropped = async () => {
    const text = await (await fetch(`${url}/metrics`)).text();
    return Number(/^smore_trace_spans_dropped_total\{reason="export"\} (\d+)$/m.exec(text)?.[1]);
  };
  const spans = 3 * 6; // of three requests
  while ((await dropped()) < spans) await setTimeout(20);
  assert.equal(await dropped(), spans);
  child.kill("SIGTERM");
  assert.deepEqual(await once(child, "exit"), [0, null]);
  await printed(output, /"reason":"[^"]*ECONNREFUSED[^"]*","msg":"traces cannot be sent"/);
});

test("a collector whose answers never end has one of them open at a time", async (t) => {
  let [asked, open, most] = [0, 0, 0];
  const silent = createServer((request, response) => {
    asked += 1;
    most = Math.max(most, ++open);
    const drip = setInterval(() => response.write(" "), 20);
    response.on("close", () => {
      clearInterval(drip);
      open -= 1;
    });
    request.resume();
  }).listen(0, "127.0.0.1");
  await once(silent, "listening");
  t.after(() => silent.close());
  process.env.OTEL_EXPORTER_OTLP_TIMEOUT = "300";
  t.after(() => delete process.env.OTEL_EXPORTER_OTLP_TIMEOUT);
  const endpoint = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const { url } = await serve(t, ["--otlp-endpoint", endpoint]);
  while (asked < 5) {
    await (await complete(url, { model: "tiny", prompt: [1, 2], max_tokens: 2 })).text();
  }
  // The next one may arrive before the server has heard that the last one was ended.
  assert.ok(most <= 2, `${most} were open at a time`);
});

test("what the server could not do in time is a failed span", async (t) => {
  const { url: endpoint, spans } = await collector(t);
  const { child, url } = await serve(t, ["--otlp-endpoint", endpoint]);
  const late = await complete(
    url,
    { model: "tiny", prompt: [1], max_tokens: 255, n: 50, stream: true },
    { "x-request-timeout": "0.05" },
  );
  assert.match(await late.text(), /deadline_exceeded/);
  child.kill("SIGTERM");
  await once(child, "exit");
  const [request] = spans.filter(({ name }) => name === "POST /v1/completions");
  assert.equal(request?.status.code, ERROR);
  assert.equal(attributesOf(request)["error.type"], "deadline_exceeded");
});

test("a caller that does not want a trace recorded gets none, and still its own trace back", async (t) => {
  const { url: endpoint, spans } = await collector(t);
  const { child, url } = await serve(t, ["--otlp-endpoint", endpoint]);
  const ask = async (sampled: string) => {
    const headers = { traceparent: `00-${TRACE}-${CALLER}-${sampled}` };
    const answer = await complete(url, { model: "tiny", prompt: [1], max_tokens: 1 }, headers);
    await answer.text();
    return answer.headers.get("traceparent") ?? "";
  };
  assert.match(await ask("00"), new RegExp(`^00-${TRACE}-(?!${CALLER})[0-9a-f]{16}-00$`));
  child.kill("SIGTERM");
  await once(child, "exit");
  assert.deepEqual(spans, []);
});

test("without a collector a caller's trace is given back, and nobody else's made up", async (t) => {
  const { url } = await serveFake(t);
  const body = { model: "fake", prompt: "x", stream: true };
  const answers = [
    await post(`${url}/v1/completions`, body, HEADERS),
    await post(`${url}/v1/completions`, {}, HEADERS),
    await fetch(`${url}/livez`, { headers: HEADERS }),
  ];
  for (const answer of answers) {
    const given = answer.headers.get("traceparent") ?? "";
    assert.match(given, new RegExp(`^00-${TRACE}-(?!${CALLER})[0-9a-f]{16}-01$`));
    assert.equal(answer.headers.get("tracestate"), "vendor=value");
    await answer.text();
  }
  const spans = answers.map(({ headers }) => headers.get("traceparent"));
  assert.equal(new Set(spans).size, spans.length);
  for (const headers of [{}, { traceparent: "00-1-2-3" }]) {
    const answer = await fetch(`${url}/livez`, { headers });
    assert.equal(answer.headers.get("traceparent"), null);
  }
});

test("every line of the log about a request has its id and its trace's", async (t) => {
  const { url, logged } = await serveFake(t, {
    context: (generator) =>
      fakeContext(generator, {
        decoder: () => {
          throw new Error("a fault of the server");
        },
      }),
  });
  await post(`${url}/v1/completions`, { model: "fake", prompt: "x", odd: 1 }, HEADERS);
  await until(() => logged.length >= 2, "it is logged");
  for (const { fields, message } of logged) {
    const { requestId, traceId } = fields as Record<string, string>;
    assert.deepEqual([requestId, traceId], ["request-17", TRACE], message);
  }
});

test("the log is JSON where that is asked for, with the id of each answer", async (t) => {
  const { url, output } = await serve(t, ["--log-level", "debug", "--log-format", "json"]);
  await (await fetch(`${url}/v1/models`, { headers: HEADERS })).text();
  await until(() => output().includes("request-17"), "it is logged");
  const line = output()
    .split("\n")
    .find((text) => text.includes("request-17"));
  const { level, time, msg, ms, ...facts } = JSON.parse(line ?? "");
  assert.deepEqual(facts, {
    requestId: "request-17",
    traceId: TRACE,
    method: "get",
    path: "/v1/models",
    status: 200,
  });
  assert.deepEqual([level, msg], [20, "answered"]);
  assert.ok(typeof ms === "number" && !Number.isNaN(Date.parse(time)));
});
