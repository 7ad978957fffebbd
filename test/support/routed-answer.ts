/** Answers with routing as a server streams them: chunks of a chat, recorded for the page's tests. */

const LINEARS = [
  { layer: 12, name: "gate_proj" },
  { layer: 12, name: "up_proj" },
  { layer: 13, name: "gate_proj" },
  { layer: 13, name: "up_proj" },
];
const LEVELS = [
  { experts: 4, active: 2 },
  { experts: 4, active: 2 },
];

/** Of token `token` in linear `linear`: neighbours differ, so that a test sees which one is shown. */
function route(token: number, linear: number) {
  const root = (token + linear) % 4;
  const second = (root + 2) % 4;
  return [
    { experts: [root, second, (root + 1) % 4, (root + 3) % 4], scores: [0.7, 0.3, 0.6, 0.4] },
    { experts: [root, second], scores: [0.75, 0.25] },
  ];
}

/** A stream of `pieces`, one token each, and of the token that ends it. */
export function routedAnswer(adapter: string, pieces: readonly string[]): string {
  const meaning = {
    layers: [12, 13],
    adapters: [{ name: adapter, scale: 1, levels: LEVELS, linears: LINEARS }],
  };
  const routing = (token: number) => ({
    ...(token === 0 ? meaning : {}),
    tokens: [{ id: token, routes: [LINEARS.map((_, linear) => route(token, linear))] }],
  });
  const usage = {
    prompt_tokens: 9,
    completion_tokens: pieces.length + 1,
    prompt_tokens_details: { cached_tokens: 0 },
  };
  const choice = (fields: object) => ({ choices: [{ index: 0, finish_reason: null, ...fields }] });
  const chunks = [
    choice({ delta: { role: "assistant", content: "" } }),
    ...pieces.map((content, token) => choice({ delta: { content }, routing: routing(token) })),
    choice({ delta: {}, finish_reason: "stop", routing: routing(pieces.length) }),
    { choices: [], usage },
  ];
  return [...chunks.map((chunk) => JSON.stringify(chunk)), "[DONE]"]
    .map((data) => `data: ${data}\n\n`)
    .join("");
}
