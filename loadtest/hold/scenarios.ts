/** Requests that would hold the event loop of a server that does everything in one go. */

export interface Scenario {
  readonly name: string;
  readonly path: string;
  readonly body?: string;
  /** What it answers; a refusal is work, too. */
  readonly status: number;
  /** Asked for when it is answered. */
  readonly next?: Scenario;
  /** Requests at a time; 1 where it says nothing. */
  readonly times?: number;
}

const MIB = 1 << 20;

/** `window`: tokens that fit the model. */
export function scenariosOf(model: string, window: number): Scenario[] {
  const ids = (count: number) => Array.from({ length: count }, (_, i) => 1 + ((i * 31) % 60));
  const completion = (fields: object) =>
    JSON.stringify({ model, temperature: 0, max_tokens: 1, ignore_eos: true, ...fields });
  const message = { role: "user", content: "How are you?" };
  const chat = (fields: object) => completion({ messages: [message], ...fields });
  const full = ids(window - 1);
  const [completions, chats] = ["/v1/completions", "/v1/chat/completions"];
  const post = (name: string, path: string, body: string, status = 200): Scenario => ({
    ...{ name, path, body, status },
  });
  return [
    { name: "nothing but probes", path: "/livez", status: 200 },
    post("8 MB of token ids", completions, completion({ prompt: ids((7.8 * MIB) / 4) }), 400),
    post("8 MB of text", completions, completion({ prompt: "x y ".repeat((7.8 * MIB) / 4) }), 400),
    post("8 MB that are no JSON", completions, `{"a":[${"[],".repeat(2.6 * MIB)}`, 400),
    post("60 kB of lists", completions, `{"a":${"[".repeat(30_000)}`, 400),
    post("a full window of token ids", completions, completion({ prompt: full })),
    {
      ...post("32 with a long beginning", completions, completion({ prompt: full })),
      times: 32,
    },
    post("256 prompts", completions, completion({ prompt: Array(256).fill(ids(8)), n: 1 })),
    post("128 choices", completions, completion({ prompt: ids(64), n: 128, max_tokens: 8 })),
    post(
      "an echo with alternatives",
      completions,
      completion({ prompt: full, echo: true, logprobs: 20 }),
    ),
    post(
      "the same, streamed",
      completions,
      completion({ prompt: full, echo: true, logprobs: 20, stream: true }),
    ),
    post(
      "answers with alternatives",
      chats,
      chat({ n: 16, max_tokens: 64, logprobs: true, top_logprobs: 20 }),
    ),
    post(
      "a response with alternatives",
      "/v1/responses",
      JSON.stringify({
        ...{
          model,
          input: "Tell a story.",
          max_output_tokens: 1000,
          top_logprobs: 20,
          stream: true,
        },
        include: ["message.output_text.logprobs"],
      }),
    ),
    post("256 messages", chats, chat({ messages: Array(256).fill(message) })),
    post("2,048 messages", chats, chat({ messages: Array(2048).fill(message) }), 400),
    post(
      "32 tools",
      chats,
      chat({
        tools: Array.from({ length: 32 }, (_, i) => tool(i)),
        tool_choice: "required",
        ignore_eos: false,
      }),
    ),
    post(
      "128 tools of many fields",
      chats,
      chat({
        tools: Array.from({ length: 128 }, (_, i) => tool(i)),
        tool_choice: "required",
        ignore_eos: false,
      }),
      400,
    ),
    post(
      "a tool of 1,500 fields",
      chats,
      chat({ ...toolWith(wideSchema(1500)), ignore_eos: false }),
    ),
    post("a schema of 1,500 fields", chats, chat(schemaBody(wideSchema(1500)))),
    post("a schema of 60,000 fields", chats, chat(schemaBody(wideSchema(20_000))), 400),
    post("a schema of 4,000 texts", chats, chat(schemaBody({ enum: texts(4000) }))),
    post(
      "a schema of long texts",
      chats,
      chat(schemaBody({ type: "string", maxLength: 4000 })),
      400,
    ),
    post("a schema of 2,000 choices", chats, chat(schemaBody({ oneOf: constants(2000) }))),
    post("250 schemas that may not overlap", chats, chat(schemaBody({ oneOf: kinds(250) }))),
    post("a schema as a text of 8 MB", chats, chat({ guided_json: " ".repeat(7.8 * MIB) }), 400),
    post("13 kB of expressions", chats, chat({ ...BOUND, guided_regex: expression(13_000) })),
    post(
      "100 kB of expressions",
      chats,
      chat({ ...BOUND, guided_regex: expression(100_000) }),
      400,
    ),
    post("1,000 choices", chats, chat({ ...BOUND, guided_choice: texts(1000) })),
    post("256 texts", completions, completion({ prompt: texts(256) })),
    post(
      "256 embeddings",
      "/v1/embeddings",
      JSON.stringify({ model, input: Array(256).fill(ids(4)) }),
    ),
    post(
      "a long text tokenized",
      "/tokenize",
      JSON.stringify({ model, prompt: "word ".repeat(window - 8) }),
    ),
    post("250,000 ids detokenized", "/detokenize", JSON.stringify({ model, tokens: ids(250_000) })),
    { name: "models", path: "/v1/models", status: 200, times: 8 },
    { name: "metrics", path: "/metrics", status: 200, times: 8 },
    { name: "adapters", path: "/v1/adapters", status: 200, times: 8 },
    {
      ...post(
        "64 streams",
        completions,
        completion({ prompt: ids(16), max_tokens: 32, stream: true }),
      ),
      times: 64,
    },
  ];
}

function tool(index: number): object {
  const properties = Object.fromEntries(
    Array.from({ length: 8 }, (_, i) => [`field_${i}`, { type: "string" }]),
  );
  const parameters = { type: "object", properties, required: Object.keys(properties) };
  return { type: "function", function: { name: `tool_${index}`, parameters } };
}

/** Ended by what follows a grammar: it may not be ignored. */
const BOUND = { ignore_eos: false };

function schemaBody(schema: object): object {
  return { ...BOUND, response_format: { type: "json_schema", json_schema: { schema } } };
}

function wideSchema(fields: number): object {
  const properties = Object.fromEntries(
    Array.from({ length: fields }, (_, i) => [`field_${i}`, { type: "string" }]),
  );
  return { type: "object", properties, required: Object.keys(properties) };
}

function toolWith(parameters: object): object {
  return {
    tools: [{ type: "function", function: { name: "wide", parameters } }],
    tool_choice: "required",
    tool_prompt: "none",
  };
}

function texts(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `text ${i}`);
}

function constants(count: number): object[] {
  return texts(count).map((text) => ({ const: text }));
}

/** Told apart by one property. */
function kinds(count: number): object[] {
  return constants(count).map((kind) => ({
    ...{ type: "object", properties: { kind }, required: ["kind"] },
  }));
}

function expression(length: number): string {
  const part = "[a-z]\\d(x|é)?";
  return part.repeat(Math.ceil(length / part.length)).slice(0, length - (length % part.length));
}
