import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type OpenAI from "openai";
import { WebSocket } from "ws";
import { fakeContext } from "../src/engine/fake.js";
import { payloads, post, serve as serveFake } from "./harness.js";
import {
  complete,
  golden,
  postJson,
  readMetrics,
  refusal,
  serve,
  TINY,
} from "./support/command.js";

/** Several adapters on one request, control of their routers, and routing in the answer. */

const PROMPT = golden.prompts[0]!;
const TREE = "smore-switch"; // two levels, leaves first: two of four experts, one of two
const NAMES = [TREE, "smore-noisy", "lora"];

interface Level {
  readonly experts: readonly number[];
  readonly scores: readonly number[];
}
interface Token {
  readonly id: number;
  readonly routes: readonly (readonly (readonly Level[])[])[];
}
interface Routing {
  readonly layers: readonly number[];
  readonly adapters: readonly {
    readonly name: string;
    readonly scale: number;
    readonly levels: readonly { readonly experts: number; readonly active: number }[];
    readonly linears: readonly { readonly layer: number; readonly name: string }[];
  }[];
  readonly tokens: readonly Token[];
}
interface Answer {
  readonly choices: readonly { readonly token_ids: number[]; readonly routing?: Routing }[];
}

/** The real engine with three adapters on the tiny model, in float32. */
function serveTiny(context: TestContext) {
  const adapters = NAMES.flatMap((name) => [
    "--adapter",
    `${name}=${join(TINY, "adapters", name)}`,
  ]);
  return serve(context, ["--activations", "fp32", ...adapters]);
}

async function answer(url: string, body: object): Promise<Answer["choices"][number]> {
  const fields = { model: "tiny", prompt: PROMPT, max_tokens: 12, return_token_ids: true };
  const response = await complete(url, { ...fields, ...body });
  const json = (await response.json()) as Answer;
  assert.equal(response.status, 200, JSON.stringify(json));
  return json.choices[0]!;
}

const tokens = async (url: string, body: object) => (await answer(url, body)).token_ids;

test("adapters add up by their scales, in any order, beside others in one batch", async (context) => {
  const { url } = await serveTiny(context);
  const [a, b] = [{ name: TREE }, { name: "lora" }];
  const alone = golden.variants[TREE]!.greedy_tokens[0]!.slice(0, 12);
  assert.deepEqual(await tokens(url, { adapters: [a] }), alone);
  assert.deepEqual(await tokens(url, { model: TREE, adapters: [a] }), alone);
  assert.deepEqual(await tokens(url, { adapters: [a, { ...b, scale: 0 }] }), alone);
  const base = golden.variants.base!.greedy_tokens[0]!.slice(0, 12);
  assert.deepEqual(await tokens(url, { adapters: [{ ...a, scale: 0 }] }), base);

  const mixes = [
    [a, b],
    [b, a],
    [a, { ...b, scale: -2 }],
    [{ ...a, scale: 3 }, { name: "smore-noisy", scale: 0.5 }, b],
  ];
  const one: number[][] = [];
  for (const adapters of mixes) one.push(await tokens(url, { adapters }));
  assert.deepEqual(one[0], one[1]);
  assert.equal(new Set([alone, base, ...one.slice(1)].map(String)).size, 5, "mixes differ");
  const bodies = [...mixes.map((adapters) => ({ adapters })), {}, { model: TREE }];
  const together = await Promise.all([...bodies, ...bodies].map((body) => tokens(url, body)));
  assert.deepEqual(together, [...one, base, alone, ...one, base, alone]);

  const metrics = await readMetrics(url);
  assert.equal(metrics("smore_base_passes_total"), metrics("smore_steps_total"));
});

test("an answer is the same, bit by bit, whichever of its adapters was loaded last", async (context) => {
  const root = join(TINY, "adapters");
  const { url } = await serve(context, ["--activations", "fp32", "--adapter-root", root]);
  const load = async (lora_name: string) => {
    const lora_path = join(root, lora_name);
    const body = { lora_name, lora_path, load_inplace: true };
    assert.equal((await postJson(`${url}/v1/load_lora_adapter`, body)).status, 200);
  };
  const adapters = NAMES.map((name, i) => ({ name, scale: [0.7, 1.3, -1.9][i] }));
  const logprobs = async () => {
    const body = { model: "tiny", prompt: PROMPT, max_tokens: 12, logprobs: 5, adapters };
    const response = await complete(url, body);
    const { choices } = (await response.json()) as { choices: { logprobs: object }[] };
    assert.equal(response.status, 200);
    return choices[0]!.logprobs;
  };
  for (const name of NAMES) await load(name);
  const first = await logprobs();
  for (const name of NAMES) {
    await load(name);
    assert.deepEqual(await logprobs(), first, `${name} is the newest`);
  }
  for (const name of NAMES.toReversed()) await load(name);
  assert.deepEqual(await logprobs(), first, "loaded the other way round");
});

test("pages of a prompt are shared by equal mixes alone", async (context) => {
  const { url } = await serveTiny(context);
  const prompt = Array.from({ length: 40 }, (_, i) => 10 + i);
  const cached = async (body: object) => {
    const fields = { model: "tiny", prompt, max_tokens: 1, ...body };
    const json = await (await complete(url, fields)).json();
    return (json as OpenAI.Completion).usage?.prompt_tokens_details?.cached_tokens;
  };
  const mix = [{ name: TREE, scale: 0.5 }, { name: "lora" }];
  assert.equal(await cached({ adapters: mix }), 0);
  assert.equal(await cached({ adapters: mix.toReversed() }), 32);
  assert.equal(await cached({ adapters: [{ name: TREE, scale: 0.25 }, mix[1]] }), 0);
  assert.equal(await cached({ adapters: mix, router: { temperature: 2 } }), 0);
  assert.equal(await cached({ adapters: mix, router: { ban: [{ level: 0, experts: [3] }] } }), 0);
  assert.equal(await cached({ adapters: mix, router: { temperature: 2 } }), 32);
  assert.equal(await cached({}), 0);
});

test("forced experts are those that the routing tells, banned ones never", async (context) => {
  const { url } = await serveTiny(context);
  const force = [
    { level: 0, experts: [3, 1] },
    { level: 1, experts: [1] },
  ];
  const body = { adapters: [{ name: TREE }], return_routing: true };
  const free = await answer(url, body);
  const forced = await answer(url, { ...body, router: { force } });
  const banned = await answer(url, { ...body, router: { ban: [{ level: 1, experts: [0] }] } });
  for (const { routing, token_ids } of [free, forced, banned]) {
    assert.ok(routing);
    assert.deepEqual(routing.layers, [0, 1]);
    const [adapter] = routing.adapters;
    assert.deepEqual(adapter?.levels, [
      { experts: 4, active: 2 },
      { experts: 2, active: 1 },
    ]);
    assert.equal(adapter.linears.length, 6);
    assert.deepEqual(
      routing.tokens.map(({ id }) => id),
      token_ids,
    );
    for (const { routes } of routing.tokens) {
      assert.deepEqual(
        routes.map((linears) => linears.length),
        [6],
      );
    }
  }
  const chosen = ({ routing }: typeof free, level: number) =>
    routing!.tokens.flatMap(({ routes }) => routes[0]!.map((levels) => levels[level]!));
  for (const { experts, scores } of chosen(forced, 0)) {
    assert.deepEqual(experts.toSorted(), [1, 3]);
    assert.ok(Math.abs(scores[0]! + scores[1]! - 1) < 1e-5, "weights of the two alone");
  }
  for (const choice of [forced, banned]) {
    assert.ok(chosen(choice, 1).every(({ experts }) => experts.join() === "1"));
  }
  assert.ok(chosen(free, 1).some(({ experts }) => experts.join() === "0"));
  assert.notDeepEqual(forced.token_ids, free.token_ids);
  // What was chosen freely, forced for one token, is chosen again with the same answer.
  const one = { ...body, max_tokens: 1, return_routing: { layers: [1] } };
  const [first] = (await answer(url, one)).routing!.tokens;
  assert.deepEqual(first, {
    ...free.routing!.tokens[0],
    routes: [free.routing!.tokens[0]!.routes[0]!.slice(3)],
  });
});

test("chats tell routing whole, streamed and over a WebSocket, through the openai client", async (context) => {
  const { url, client } = await serveFake(context, { reply: () => "Hi" });
  const request = {
    model: "fake",
    messages: [{ role: "user" as const, content: "?" }],
    adapters: [{ name: "tuned", scale: 0.5 }],
    return_routing: { layers: [0] },
  };
  const level = { experts: [0, 1], scores: [1, 0.5] };
  const want = {
    layers: [0],
    adapters: [
      {
        name: "tuned",
        scale: 0.5,
        levels: [{ experts: 4, active: 2 }],
        linears: [{ layer: 0, name: "up_proj" }],
      },
    ],
    tokens: [72, 105, 257].map((id) => ({ id, routes: [[[level]]] })),
  };
  const whole = await client.chat.completions.create(request);
  assert.deepEqual(routingOf(whole.choices[0]), want);

  const streamed: Partial<Routing>[] = [];
  for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
    const routing = routingOf(chunk.choices[0]);
    if (routing !== undefined) streamed.push(routing);
  }
  assert.equal(streamed.length, 3);
  assert.deepEqual(Object.keys(streamed[1]!), ["tokens"]);
  assert.deepEqual({ ...streamed[0], tokens: streamed.flatMap((it) => it.tokens ?? []) }, want);

  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/stream`);
  context.after(() => socket.terminate());
  const frames: Partial<Routing>[] = [];
  await new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("open", () =>
      socket.send(JSON.stringify({ ...request, id: 1, type: "chat.completion" })),
    );
    socket.on("message", (data) => {
      const frame = JSON.parse(String(data));
      const routing = routingOf(frame.choices?.[0]);
      if (routing !== undefined) frames.push(routing);
      if (frames.flatMap((it) => it.tokens ?? []).length === 3) resolve();
      if (frame.error !== undefined) reject(new Error(String(data)));
    });
  });
  assert.deepEqual({ ...frames[0], tokens: frames.flatMap((it) => it.tokens ?? []) }, want);
  const { routing } = (await client.completions.create({ model: "fake", prompt: "?" }))
    .choices[0] as { routing?: unknown };
  assert.equal(routing, undefined, "not asked for");
});

function routingOf(choice: unknown): Routing | undefined {
  return (choice as { routing?: Routing } | undefined)?.routing;
}

test("what cannot be mixed, routed or told is refused by its field", async (context) => {
  const { url } = await serveFake(context, {
    context: (generator) => fakeContext(generator, {}, ["tuned", "other"]),
  });
  const tuned = [{ name: "tuned" }];
  const levels = (level: number, ...experts: unknown[]) => [{ level, experts }];
  const cases: readonly (readonly [param: string, body: object, status?: number])[] = [
    ["adapters", { adapters: "tuned" }],
    ["adapters", { adapters: Array.from({ length: 9 }, (_, i) => ({ name: `a${i}` })) }],
    ["adapters[0]", { adapters: ["tuned"] }],
    ["adapters[0].name", { adapters: [{ scale: 1 }] }],
    ["adapters[0].name", { adapters: [{ name: "nobody" }] }, 404],
    ["adapters[0].name", { adapters: [{ name: "fake" }] }],
    ["adapters[1].name", { adapters: [...tuned, ...tuned] }],
    ["adapters[0].scale", { adapters: [{ name: "tuned", scale: 16.5 }] }],
    ["adapters[0].scale", { adapters: [{ name: "tuned", scale: "1" }] }],
    ["adapters[0].weight", { adapters: [{ name: "tuned", weight: 1 }] }],
    ["adapters", { model: "tuned", adapters: [{ name: "other" }] }],
    ["router", { router: { temperature: 2 } }],
    ["router", { adapters: tuned, router: 3 }],
    ["router.temperature", { adapters: tuned, router: { temperature: 0 } }],
    ["router.temprature", { adapters: tuned, router: { temprature: 1 } }],
    ["router.ban", { adapters: tuned, router: { ban: 1 } }],
    ["router.ban[0].level", { adapters: tuned, router: { ban: [{ experts: [0] }] } }],
    ["router.ban[0].level", { adapters: tuned, router: { ban: levels(1, 0) } }],
    ["router.ban[0].experts[1]", { adapters: tuned, router: { ban: levels(0, 0, 4) } }],
    ["router.ban[0].experts", { adapters: tuned, router: { ban: levels(0, 0, 1, 2) } }],
    ["router.ban[0].experts", { adapters: tuned, router: { ban: levels(0, 1, 1) } }],
    ["router.force[0].experts", { adapters: tuned, router: { force: levels(0, 1) } }],
    [
      "router.ban[0].adapter",
      { adapters: tuned, router: { ban: [{ ...levels(0, 1)[0], adapter: "other" }] } },
    ],
    ["return_routing", { return_routing: "all" }],
    ["return_routing.layers", { return_routing: { layers: [] } }],
    ["return_routing.layers[1]", { return_routing: { layers: [0, 2] } }],
  ];
  for (const path of ["/v1/completions", "/v1/chat/completions"]) {
    const prompt = path.includes("chat")
      ? { messages: [{ role: "user", content: "?" }] }
      : { prompt: "?" };
    for (const [param, fields, status = 400] of cases) {
      const body = { model: "fake", ...prompt, ...fields };
      const refused = await refusal(await post(url + path, body));
      assert.deepEqual([refused.param, refused.status], [param, status], JSON.stringify(body));
    }
    const router = { temperature: 5e-324 };
    const tiny = await post(url + path, { model: "fake", ...prompt, adapters: tuned, router });
    assert.match((await refusal(tiny)).message, /at least 1\.1754943508222875e-38.*, not 5e-324/);
    const neutral = { adapters: [], router: { temperature: 1 }, return_routing: false };
    assert.equal((await post(url + path, { model: "tuned", ...prompt, ...neutral })).status, 200);
  }
});

test("responses and messages go through a mix as a chat does, and refuse to tell its routing", async (context) => {
  const { url, generator } = await serveFake(context, { reply: () => "Hi" });
  const messages = [{ role: "user", content: "?" }];
  const mixed = { adapters: [{ name: "tuned", scale: 0.5 }], router: { temperature: 2 } };
  const bodies = {
    "/v1/chat/completions": { messages },
    "/v1/responses": { input: "?" },
    "/v1/messages": { messages, max_tokens: 4 },
  };
  for (const [path, body] of Object.entries(bodies)) {
    const response = await post(url + path, { model: "fake", ...body, ...mixed });
    assert.equal(response.status, 200, await response.text());
  }
  const mixes = generator.requests.map(({ mix }) => mix);
  assert.equal(mixes.length, 3);
  assert.equal(mixes[0]?.[0]?.scale, 0.5);
  assert.equal(mixes[0][0].temperature, 2);
  for (const mix of mixes) assert.deepEqual(mix, mixes[0]);

  for (const [path, body] of Object.entries(bodies).slice(1)) {
    const ask = (fields: object) => post(url + path, { model: "fake", ...body, ...fields });
    const wrong = { adapters: [{ name: "tuned", scale: "1" }] };
    assert.match(await (await ask(wrong)).text(), /adapters\[0\]\.scale/);
    assert.equal((await ask({ adapters: [{ name: "nobody" }] })).status, 404);
    const told = await ask({ ...mixed, return_routing: true });
    assert.equal(told.status, 400);
    assert.match(await told.text(), /return_routing is not supported.*\/v1\/chat\/completions/);
    assert.equal((await ask({ ...mixed, return_routing: false })).status, 200);
  }
});

test("routing that an answer in one piece could not hold is refused, and streamed", async (context) => {
  const { url } = await serveFake(context, {
    context: (generator) => {
      const fake = fakeContext(generator);
      const tuned = fake.models.find("tuned")!;
      const info = { ...tuned.info!, tree: [{ experts: 20_000, active: 20_000 }] };
      return { ...fake, models: { ...fake.models, find: () => ({ ...tuned, info }) } };
    },
  });
  const body = { model: "tuned", prompt: "?", max_tokens: 400, return_routing: true };
  const refused = await refusal(await post(`${url}/v1/completions`, body));
  assert.deepEqual([refused.status, refused.param], [400, "return_routing"]);
  const streamed = await post(`${url}/v1/completions`, { ...body, stream: true });
  assert.equal(payloads(await streamed.text()).at(-1), "[DONE]");
});
