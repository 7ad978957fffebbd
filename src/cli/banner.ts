import type { ApiContext } from "../api/context.js";
import { AUTO_MODEL } from "../config.js";
import type { EngineInfo } from "../engine/native.js";

export interface BannerFacts {
  readonly scheme: "http" | "https";
  readonly host: string;
  readonly port: number;
  readonly seconds: number; // from start to ready
  readonly context: ApiContext;
  readonly info: EngineInfo;
  /** Whether clients need a key. */
  readonly keys: boolean;
}

/** What a ready server tells on standard output. */
export function banner({ scheme, host, port, seconds, context, info, keys }: BannerFacts): string {
  const url = `${scheme}://${urlHost(host)}:${port}`;
  const names = context.models.list().map(({ name }) => name);
  if (context.router?.ready === true) names.push(AUTO_MODEL);
  const threads = `${info.threads} thread${info.threads === 1 ? "" : "s"}`;
  return `
smore-serve is ready on ${url} after ${seconds.toFixed(1)} s (${info.kernelPath}, ${threads})
Models: ${names.join(", ")}
Try:
${examples(context)
  .map(([path, body]) => curl(`${url}/v1/${path}`, body, keys))
  .join("\n")}
`;
}

type Example = readonly [path: string, body: object];

function examples({ models, chatTemplate, tokenizer }: ApiContext): Example[] {
  const model = models.base.name;
  if (tokenizer === null) return [["completions", { model, prompt: [1, 2, 3] }]];
  if (chatTemplate === null) return [["completions", { model, prompt: "Once upon a time" }]];
  const chats = [chat(model, "What is the capital of France? Answer in one sentence.")];
  if (models.find(CALLER) !== undefined) chats.push(chat(CALLER, "Set a 25 minute timer."));
  return chats;
}

/** The adapter that comes with the default model. */
const CALLER = "function-calls";

function chat(model: string, content: string): Example {
  return ["chat/completions", { model, temperature: 0, messages: [{ role: "user", content }] }];
}

function curl(url: string, body: object, keys: boolean): string {
  const key = keys ? " -H 'Authorization: Bearer YOUR_KEY'" : "";
  return `  curl ${url} -H 'Content-Type: application/json'${key} \\
    -d '${JSON.stringify(body)}'`;
}

/** An address that a client on this machine can use. */
function urlHost(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  if (host === "::") return "[::1]";
  return host.includes(":") ? `[${host}]` : host;
}
