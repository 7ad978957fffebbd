import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import OpenAI from "openai";
import OpenAI4 from "openai-4";
import OpenAI5 from "openai-5";
import { apiKey, serve, until } from "./harness.js";
import { serveWithGrammars } from "./support/grammars.js";

// Every major of OpenAI's client that runs on Node.js 20, each asked for the same. They are used by the
// newest one's types: what they send and read is what is tested.

const CLIENTS: Readonly<Record<string, typeof OpenAI>> = {
  "openai 4": OpenAI4 as unknown as typeof OpenAI,
  "openai 5": OpenAI5 as unknown as typeof OpenAI,
  "openai 6": OpenAI,
};

const hello = [{ role: "user" as const, content: "hi" }];

const weather = {
  type: "function" as const,
  function: {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};

for (const [name, Client] of Object.entries(CLIENTS)) {
  const connect = (url: string, key = "none", maxRetries = 0) =>
    new Client({ baseURL: `${url}/v1`, apiKey: key, maxRetries });

  test(`${name} lists models, and completes and chats, whole and streamed`, async (t) => {
    const { url } = await serve(t, { reply: () => "Grüße 👋", cachedTokens: 1 });
    const client = connect(url);
    const names: string[] = [];
    for await (const { id } of client.models.list()) names.push(id);
    assert.deepEqual(names, ["fake", "tuned"]);
    assert.equal((await client.models.retrieve("tuned")).id, "tuned");

    const completion = { model: "fake", prompt: "x", max_tokens: 40 };
    const whole = await client.completions.create({ ...completion, n: 2, logprobs: 1 });
    assert.deepEqual(
      whole.choices.map(({ text, finish_reason }) => [text, finish_reason]),
      Array(2).fill(["Grüße 👋", "stop"]),
    );
    assert.equal(whole.usage?.prompt_tokens_details?.cached_tokens, 1);
    let text = "";
    for await (const { choices } of await client.completions.create({
      ...completion,
      stream: true,
    })) {
      text += choices[0]?.text ?? "";
    }
    assert.equal(text, "Grüße 👋");

    const chat = { model: "tuned", messages: hello };
    const answer = await client.chat.completions.create(chat);
    assert.equal(answer.choices[0]?.message.content, "Grüße 👋");
    const stream = await client.chat.completions.create({
      ...chat,
      stream: true,
      stream_options: { include_usage: true },
    });
    let content = "";
    let tokens = 0;
    for await (const { choices, usage } of stream) {
      content += choices[0]?.delta.content ?? "";
      tokens = usage?.total_tokens ?? tokens;
    }
    assert.deepEqual([content, tokens], ["Grüße 👋", answer.usage?.total_tokens]);
  });

  test(`${name} gets calls of tools and answers in a form, whole and streamed`, async (t) => {
    const reply = '{"name": "get_weather", "arguments": {"city": "Ulm"}}';
    const { url } = await serveWithGrammars(t, { reply: () => reply });
    const client = connect(url);
    const body = { model: "fake", messages: hello, tools: [weather] };
    const expected = { name: "get_weather", arguments: '{"city": "Ulm"}' };
    const { choices } = await client.chat.completions.create(body);
    const [call] = choices[0]!.message.tool_calls!;
    assert.deepEqual("function" in call! && call.function, expected);
    const made = { name: "", arguments: "" };
    for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
      for (const { function: part } of chunk.choices[0]?.delta.tool_calls ?? []) {
        made.name += part?.name ?? "";
        made.arguments += part?.arguments ?? "";
      }
    }
    assert.deepEqual(made, expected);

    const schema = weather.function.parameters;
    const format = { type: "json_schema", json_schema: { name: "place", schema } } as const;
    const formed = await client.chat.completions.create({
      model: "fake",
      messages: hello,
      response_format: format,
      max_tokens: 60,
    });
    assert.deepEqual(Object.keys(JSON.parse(formed.choices[0]!.message.content!)), ["city"]);
  });

  test(`${name} embeds, and reads responses`, async (t) => {
    const { url } = await serve(t, { reply: () => "Hé" });
    const client = connect(url);
    const { data, usage } = await client.embeddings.create({ model: "fake", input: ["hi", "ho"] });
    assert.equal(usage.prompt_tokens, 6);
    for (const { embedding } of data) {
      assert.ok(Math.abs(Math.hypot(...embedding) - 1) < 1e-6);
    }
    const response = await client.responses.create({ model: "fake", input: "hi" });
    assert.equal(response.output_text, "Hé");
    let text = "";
    for await (const event of await client.responses.create({
      model: "fake",
      input: "hi",
      stream: true,
    })) {
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    assert.equal(text, "Hé");
  });

  test(`${name} throws the error of the status, with its fields and the request's id`, async (t) => {
    const { url } = await serve(t, { options: { apiKeys: [apiKey("right")] } });
    const body = { model: "fake", messages: hello };
    const client = connect(url, "right");
    const failures = [
      [Client.AuthenticationError, connect(url, "wrong"), body, null, "invalid_api_key"],
      [Client.NotFoundError, client, { ...body, model: "none" }, "model", "model_not_found"],
      [Client.BadRequestError, client, { ...body, top_p: 2 }, "top_p", "invalid_parameter"],
      [
        Client.BadRequestError,
        client,
        { ...body, max_tokens: 600 },
        "messages",
        "context_length_exceeded",
      ],
    ] as const;
    for (const [kind, asking, asked, param, code] of failures) {
      const headers = { "x-request-id": `for-${code}` };
      await assert.rejects(asking.chat.completions.create(asked, { headers }), (error) => {
        assert.ok(error instanceof kind, String(error));
        assert.deepEqual([error.param, error.code], [param, code]);
        assert.equal(error.type, "invalid_request_error");
        const { requestID, request_id } = error as { requestID?: string; request_id?: string };
        assert.equal(requestID ?? request_id, `for-${code}`);
        return true;
      });
    }
  });

  test(`${name} throws what fails within a stream, and cancels what it leaves`, async (t) => {
    const failure = { after: 2, code: "engine_failed", message: "broken" } as const;
    const broken = await serve(t, { failure });
    const body = { model: "fake", messages: hello, stream: true } as const;
    const failing = await connect(broken.url).chat.completions.create(body);
    await assert.rejects(drained(failing), /broken/);

    const endless = await serve(t, { reply: () => "x".repeat(400), tokenDelayMs: 2 });
    const aborted = await connect(endless.url).chat.completions.create(body);
    for await (const _ of aborted) aborted.controller.abort();
    await until(() => endless.generator.cancelled === 1, "it is cancelled");
    const controller = new AbortController();
    const { signal } = controller;
    const whole = connect(endless.url).chat.completions.create(
      { ...body, stream: false },
      { signal },
    );
    await until(() => endless.generator.running === 1, "it runs");
    controller.abort();
    await assert.rejects(whole, Client.APIUserAbortError);
    await until(() => endless.generator.cancelled === 2, "it is cancelled too");
  });

  test(`${name} tries again after the time that a full queue names`, async (t) => {
    await retried(t, (url) => connect(url, "none", 2));
  });
}

async function drained(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}

/** The queue is full until the first answer that fills it has been read. */
async function retried(t: TestContext, connect: (url: string) => OpenAI): Promise<void> {
  const { url, generator } = await serve(t, {
    capacity: 1,
    reply: () => "x".repeat(400),
    tokenDelayMs: 2,
  });
  const client = connect(url);
  const body = { model: "fake", prompt: "x", max_tokens: 200 };
  const first = client.completions.create(body);
  await until(() => generator.running === 1, "the queue is full");
  const second = client.completions.create({ ...body, max_tokens: 1 });
  assert.equal((await first).choices[0]?.text.length, 200);
  assert.equal((await second).choices[0]?.text, "x");
  assert.equal(generator.requests.length, 2);
}
