import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { payloads, post, serve } from "./harness.js";

/** Streams over real sockets: whatever the model says, the pieces are the whole, character by character. */

interface Stream {
  readonly path: string;
  readonly body: object;
  /** Texts of the events in order; throws when the framing is not exactly as it should be. */
  readonly texts: (stream: string) => string[];
  /** The text of the answer that is not streamed. */
  readonly whole: (answer: never) => string;
}

function namedEvents(stream: string): Record<string, unknown>[] {
  assert.ok(stream.endsWith("\n\n"));
  return stream
    .slice(0, -2)
    .split("\n\n")
    .map((event) => {
      const [, name, data] = /^event: (\S+)\ndata: ([^\n\r]*)$/.exec(event) ?? [];
      const value = JSON.parse(data ?? "") as Record<string, unknown>;
      assert.equal(value.type, name);
      return value;
    });
}

function dataEvents(stream: string): { choices: Record<string, unknown>[] }[] {
  const events = payloads(stream);
  assert.equal(events.pop(), "[DONE]");
  return events.map((event) => JSON.parse(event));
}

const hello = [{ role: "user", content: "hi" }];
const model = "fake";

const STREAMS: readonly Stream[] = [
  {
    path: "/v1/completions",
    body: { model, prompt: "x", max_tokens: 400 },
    texts: (stream) => dataEvents(stream).map(({ choices }) => String(choices[0]?.text)),
    whole: ({ choices }: { choices: { text: string }[] }) => choices[0]!.text,
  },
  {
    path: "/v1/chat/completions",
    body: { model, messages: hello, max_tokens: 400 },
    texts: (stream) =>
      dataEvents(stream).map(({ choices }) => {
        const delta = choices[0]?.delta as { content?: string } | undefined;
        return delta?.content ?? "";
      }),
    whole: ({ choices }: { choices: { message: { content: string } }[] }) =>
      choices[0]!.message.content,
  },
  {
    path: "/v1/responses",
    body: { model, input: "hi", max_output_tokens: 400 },
    texts: (stream) =>
      namedEvents(stream).map(({ type, delta }) =>
        type === "response.output_text.delta" ? String(delta) : "",
      ),
    whole: ({ output }: { output: { content: { text: string }[] }[] }) =>
      output.map(({ content }) => content.map(({ text }) => text).join("")).join(""),
  },
  {
    path: "/v1/messages",
    body: { model, messages: hello, max_tokens: 400 },
    texts: (stream) =>
      namedEvents(stream).map(({ type, delta }) =>
        type === "content_block_delta" ? (delta as { text: string }).text : "",
      ),
    whole: ({ content }: { content: { text: string }[] }) =>
      content.map(({ text }) => text).join(""),
  },
];

/** Line ends of every kind, what looks like framing, and characters of one to four bytes and more. */
const said = fc
  .array(
    fc.oneof(
      fc.string({ unit: "grapheme", maxLength: 8 }),
      fc.constantFrom("\n\n", "\r\n", "\r", "data: ", "[DONE]", "event: x\n", "\u2028", "\u0000"),
      fc.constantFrom("👩‍👩‍👧", "é", "e\u0301", "\ufeff", "漢", "𝄞", '"', "\\"),
    ),
    { maxLength: 8 },
  )
  .map((parts) => parts.join(""));

test("every stream is well framed, splits no character and adds up to the whole answer", async (t) => {
  let reply = "";
  const { url } = await serve(t, { reply: () => reply });
  await fc.assert(
    fc.asyncProperty(
      said,
      fc.constantFrom(...STREAMS),
      async (text, { path, body, texts, whole }) => {
        reply = text;
        const answer = await (await post(url + path, body)).json();
        assert.equal(whole(answer as never), text);
        const response = await post(url + path, { ...body, stream: true });
        assert.equal(response.headers.get("content-type"), "text/event-stream");
        const pieces = texts(await response.text());
        assert.equal(pieces.join(""), text);
        // The whole is right, so that half a character could only be half a pair, which UTF-8 cannot say.
        for (const piece of pieces) assert.equal(Buffer.from(piece).toString(), piece);
      },
    ),
    { numRuns: 150 },
  );
});

test("a stop string shows in no stream, however it lies in the tokens", async (t) => {
  let reply = "";
  const { url } = await serve(t, { reply: () => reply });
  const stop = "é\n\nX";
  const around = fc.string({ unit: fc.constantFrom("é", "\n", "X", "a"), maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(around, fc.boolean(), around, async (before, stops, after) => {
      reply = stops ? before + stop + after : before;
      const end = reply.indexOf(stop);
      const shown = end < 0 ? reply : reply.slice(0, end);
      for (const { path, body, texts } of STREAMS.slice(0, 2)) {
        const response = await post(url + path, { ...body, stop, stream: true });
        assert.equal(texts(await response.text()).join(""), shown, JSON.stringify(reply));
      }
    }),
    { numRuns: 150 },
  );
});
