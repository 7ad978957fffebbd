import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import Anthropic from "@anthropic-ai/sdk";
import { WebSocket } from "ws";
import type { ApiContext, ServedModel } from "../src/api/context.js";
import { EncoderThread } from "../src/encoders/encoder.js";
import { fakeContext } from "../src/engine/fake.js";
import { fakeAdapterInfo } from "../src/engine/fake-engine.js";
import { NO_CARD } from "../src/models/card.js";
import { Router } from "../src/router/router.js";
import { mixOf } from "../src/scheduler/mix.js";
import { post, serve, until } from "./harness.js";
import { refusal } from "./support/command.js";

/** `model: "auto"` at every endpoint: the fake model, the tiny encoder of six words, and a router between them. */

const ENCODER = fileURLToPath(new URL("../../test/fixtures/encoder", import.meta.url));
const EXAMPLES = { pets: ["cat cat cat", "dog dog dog"], colours: ["red red red", "blue red"] };

/** The base "fake" and an adapter for each list of examples; `gone`: names that nobody finds any more. */
async function serveAuto(t: TestContext, gone: ReadonlySet<string> = new Set()) {
  const router = new Router({
    start: () => EncoderThread.start(ENCODER, 1),
    threshold: 0.95,
    fallback: null,
    onChoice: () => {},
    onFault: assert.fail,
  });
  t.after(() => router.close());
  return await serve(t, {
    context: (generator): ApiContext => {
      const plain = fakeContext(generator, { router }, []);
      const { base } = plain.models;
      const adapters = Object.entries(EXAMPLES).map(([name, texts], i) => {
        const examples = texts.map((content) => [{ role: "user", content }]);
        const card = { ...NO_CARD, task: `About ${name}.`, license: "mit", examples };
        const info = fakeAdapterInfo(i + 1);
        return { ...base, name, adapter: i + 1, parent: base.name, info, card, pinned: false };
      });
      for (const adapter of adapters) router.served(adapter);
      const models: readonly ServedModel[] = [base, ...adapters];
      const find = (name: string) =>
        gone.has(name) ? undefined : models.find((model) => model.name === name);
      return { ...plain, models: { base, find, list: () => models } };
    },
  });
}

const user = (content: string) => [{ role: "user" as const, content }];

interface Chosen {
  readonly model: string;
  readonly auto: { readonly nearest: string | null; readonly score: number };
}

test("OpenAI's client is answered by the adapter whose examples are nearest, and told how near", async (t) => {
  const { client, generator } = await serveAuto(t);
  const ask = async (content: string) => {
    const answer = await client.chat.completions.create({
      model: "auto",
      messages: user(content),
    });
    return answer as unknown as Chosen;
  };
  const pet = await ask("cat cat cat cat cat");
  assert.deepEqual([pet.model, pet.auto.nearest], ["pets", "pets"]);
  assert.ok(pet.auto.score > 0.95 && pet.auto.score <= 1);
  assert.equal((await ask("blue red")).model, "colours");
  const other = await ask("sky green sky");
  assert.equal(other.model, "fake");
  assert.ok(other.auto.nearest !== null && other.auto.score < 0.95);
  const mixes = generator.requests.map(({ mix }) => mix);
  assert.deepEqual(mixes, [mixOf(1), mixOf(2), mixOf(0)]);
});

test("every chunk of a stream names the adapter", async (t) => {
  const { client } = await serveAuto(t);
  const stream = await client.chat.completions.create({
    ...{ model: "auto", messages: user("red red red"), max_tokens: 4, stream: true },
    stream_options: { include_usage: true },
  });
  const chunks: Chosen[] = [];
  for await (const chunk of stream) chunks.push(chunk as unknown as Chosen);
  assert.ok(chunks.length >= 5);
  for (const { model, auto } of chunks) {
    assert.deepEqual([model, auto], ["colours", { nearest: "colours", score: 1 }]);
  }
});

test("the last message of the user counts, alone or with the system's before it", async (t) => {
  const { url } = await serveAuto(t);
  const ask = async (messages: readonly object[]) => {
    const answer = await post(`${url}/v1/chat/completions`, { model: "auto", messages });
    return (await answer.json()) as Chosen;
  };
  const earlier = [...user("red red red"), { role: "assistant", content: "red" }];
  assert.equal((await ask([...earlier, ...user("dog dog dog")])).model, "pets");
  const told = { role: "system", content: "red red red red" };
  assert.equal((await ask([told, ...user("dog dog dog")])).model, "pets");
  assert.equal((await ask(user("red green"))).model, "fake");
  assert.equal((await ask([told, ...user("red green")])).model, "colours");
  const silent = await ask([told]);
  assert.deepEqual([silent.model, silent.auto], ["fake", { nearest: null, score: 0 }]);
});

test("responses, messages and sockets take it too", async (t) => {
  const { client, url } = await serveAuto(t);
  const response = await client.responses.create({ model: "auto", input: "cat cat cat" });
  assert.deepEqual(
    [response.model, (response as unknown as Chosen).auto.nearest],
    ["pets", "pets"],
  );
  const anthropic = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
  const body = { model: "auto", max_tokens: 3, messages: user("blue red") };
  const message = await anthropic.messages.create(body);
  assert.deepEqual([message.model, (message as unknown as Chosen).auto.score], ["colours", 1]);
  const { input_tokens } = await anthropic.messages.countTokens({
    model: "auto",
    messages: user("cat"),
  });
  assert.ok(input_tokens > 0);

  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/stream`);
  await once(socket, "open");
  const frame = { id: 1, type: "chat.completion", model: "auto", messages: user("dog dog dog") };
  socket.send(JSON.stringify(frame));
  const [first] = (await once(socket, "message")) as [Buffer];
  assert.equal((JSON.parse(String(first)) as Chosen).model, "pets");
  socket.close();
});

test("where there is no conversation, or the caller must know the adapter, auto is refused", async (t) => {
  const { url } = await serveAuto(t);
  const refused = async (path: string, body: object) => {
    const { status, code, param } = await refusal(
      await post(url + path, { model: "auto", ...body }),
    );
    return [status, code, param];
  };
  assert.deepEqual(await refused("/v1/completions", { prompt: "cat" }), [
    400,
    "not_supported",
    "model",
  ]);
  assert.deepEqual(await refused("/v1/embeddings", { input: "cat" }), [
    400,
    "not_supported",
    "model",
  ]);
  const messages = user("cat");
  for (const [param, value] of [
    ["adapters", [{ name: "pets" }]],
    ["router", { temperature: 2 }],
  ] as const) {
    const body = { messages, [param]: value };
    assert.deepEqual(await refused("/v1/chat/completions", body), [
      400,
      "invalid_parameter",
      param,
    ]);
  }
  const routed = await post(`${url}/v1/chat/completions`, {
    ...{ model: "auto", messages: user("cat cat cat"), max_tokens: 2, return_routing: true },
  });
  const { choices } = (await routed.json()) as {
    choices: { routing: { adapters: { name: string }[] } }[];
  };
  assert.deepEqual(
    choices[0]?.routing.adapters.map(({ name }) => name),
    ["pets"],
  );
  const counted = await post(`${url}/tokenize`, { model: "auto", messages });
  assert.equal(counted.status, 200);
});

test("auto is listed where a router is there, and adapters with what their cards say", async (t) => {
  const { client, url } = await serveAuto(t);
  const { data } = await client.models.list();
  assert.deepEqual(
    data.map(({ id }) => id),
    ["fake", "pets", "colours", "auto"],
  );
  const { task, license } = data[1] as unknown as { task: string; license: string };
  assert.deepEqual([task, license], ["About pets.", "mit"]);
  assert.equal((await client.models.retrieve("auto")).id, "auto");

  const plain = await serve(t);
  assert.equal((await fetch(`${plain.url}/v1/models/auto`)).status, 404);
  const answer = await post(`${plain.url}/v1/chat/completions`, {
    ...{ model: "auto", messages: user("cat") },
  });
  assert.equal((await refusal(answer)).code, "model_not_found");
  assert.equal((await fetch(`${url}/v1/models/auto`)).status, 200);
});

test("a request whose adapter is unloaded while it is chosen goes to the base", async (t) => {
  const { client } = await serveAuto(t, new Set(["pets"]));
  const answer = await client.chat.completions.create({
    model: "auto",
    messages: user("cat cat cat"),
  });
  assert.equal(answer.model, "fake");
  assert.equal((answer as unknown as Chosen).auto.nearest, "pets");
});

test("while the encoder has failed, auto is no name that is unknown but a 503 that says why", async (t) => {
  let broken = true;
  const choose = async () => {
    broken = true; // it ends while it chooses
    throw new Error("the encoder's thread has ended");
  };
  const { url, logged } = await serve(t, {
    context: (generator) => {
      const router = {
        root: "/encoder",
        choose,
        get ready() {
          return !broken;
        },
        get broken() {
          return broken;
        },
      };
      return fakeContext(generator, { router });
    },
  });
  const messages = user("cat");
  const refused = async (path: string, body: object) => {
    const answer = await post(url + path, { model: "auto", ...body });
    const { status, code, message } = await refusal(answer);
    assert.match(
      message,
      /^The encoder that chooses among adapters for the model "auto" has failed;/,
    );
    return [status, code];
  };
  const failed = [503, "engine_stopped"];
  const bodies = {
    "/v1/chat/completions": { messages },
    "/v1/responses": { input: "cat" },
    "/tokenize": { messages },
  };
  for (const [path, body] of Object.entries(bodies)) {
    assert.deepEqual(await refused(path, body), failed, path);
  }
  assert.equal((await fetch(`${url}/v1/models/auto`)).status, 503);
  const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
  assert.ok(!data.some(({ id }) => id === "auto"));
  const named = await post(`${url}/v1/chat/completions`, { model: "tuned", messages });
  assert.equal(named.status, 200);

  broken = false;
  assert.deepEqual(await refused("/v1/chat/completions", { messages }), failed);
  assert.equal(logged.length, 0, "the router's owner tells the log, once");
});

test("a client that leaves while its adapter is looked for costs no more", async (t) => {
  let left: AbortSignal | undefined;
  const { url, generator } = await serve(t, {
    context: (generator) =>
      fakeContext(generator, {
        router: {
          ...{ ready: true, broken: false, root: "/encoder" },
          choose: (_texts, _models, gone) =>
            new Promise((_, reject) => {
              left = gone;
              gone?.addEventListener("abort", () => reject(gone.reason));
            }),
        },
      }),
  });
  const asked = { model: "auto", messages: user("cat"), stream: true };
  const leave = new AbortController();
  const answer = fetch(`${url}/v1/chat/completions`, {
    ...{ method: "POST", body: JSON.stringify(asked), signal: leave.signal },
  });
  await until(() => left !== undefined, "the adapter is looked for");
  leave.abort();
  await assert.rejects(answer);
  await until(() => left!.aborted, "the router hears of it");

  left = undefined;
  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/stream`);
  await once(socket, "open");
  socket.send(JSON.stringify({ id: 1, type: "chat.completion", ...asked }));
  await until(() => left !== undefined, "the adapter is looked for");
  socket.send(JSON.stringify({ id: 1, type: "cancel" }));
  const [done] = (await once(socket, "message")) as [Buffer];
  assert.deepEqual(JSON.parse(String(done)), { id: 1, type: "done" });
  assert.ok(left!.aborted);
  socket.close();
  assert.equal(generator.requests.length, 0);
});

test("an encoder that fails fails the request, not the server", async (t) => {
  const { url, logged } = await serve(t, {
    context: (generator) =>
      fakeContext(generator, {
        router: {
          ready: true,
          broken: false,
          root: "/encoder",
          choose: async () => {
            throw new Error("the encoder's thread has ended");
          },
        },
      }),
  });
  const body = { model: "auto", messages: user("cat") };
  const answer = await post(`${url}/v1/chat/completions`, body);
  assert.equal(answer.status, 500);
  assert.equal(logged.length, 1);
  const named = await post(`${url}/v1/chat/completions`, { ...body, model: "tuned" });
  assert.equal(named.status, 200);
});
