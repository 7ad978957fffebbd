import type { ApiContext } from "../api/context.js";
import type { EngineInfo } from "../engine/native.js";

export interface BannerFacts {
  readonly host: string;
  readonly port: number;
  readonly seconds: number; // from start to ready
  readonly context: ApiContext;
  readonly info: EngineInfo;
}

/** What a ready server tells on standard output. */
export function banner({ host, port, seconds, context, info }: BannerFacts): string {
  const url = `http://${urlHost(host)}:${port}`;
  const names = context.models.list().map(({ name }) => name);
  const threads = `${info.threads} thread${info.threads === 1 ? "" : "s"}`;
  return `
smore-serve is ready on ${url} after ${seconds.toFixed(1)} s (${info.kernelPath}, ${threads})
Models: ${names.join(", ")}
Try:
${curl(url, context)}
`;
}

function curl(url: string, { models, chatTemplate, tokenizer }: ApiContext): string {
  const model = models.base.name;
  const [path, body] =
    chatTemplate !== null
      ? [
          "chat/completions",
          { model, temperature: 0, messages: [{ role: "user", content: QUESTION }] },
        ]
      : ["completions", { model, prompt: tokenizer === null ? [1, 2, 3] : "Once upon a time" }];
  return `  curl ${url}/v1/${path} -H 'Content-Type: application/json' \\
    -d '${JSON.stringify(body)}'`;
}

const QUESTION = "What is the capital of France? Answer in one sentence.";

/** An address that a client on this machine can use. */
function urlHost(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  if (host === "::") return "[::1]";
  return host.includes(":") ? `[${host}]` : host;
}
