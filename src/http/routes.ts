import { adapterRouting } from "../api/adapter-routing.js";
import { listAdapters, loadAdapter, unloadAdapter } from "../api/adapters.js";
import { chat } from "../api/chat.js";
import { completions } from "../api/completions.js";
import type { ApiContext } from "../api/context.js";
import { embeddings } from "../api/embeddings.js";
import type { Endpoint } from "../api/endpoint.js";
import { readiness, requireContext } from "../api/health.js";
import { messagesError } from "../api/messages/errors.js";
import { countTokens, messages } from "../api/messages/messages.js";
import { listModels, oneModel } from "../api/models.js";
import { responses } from "../api/responses/responses.js";
import type { JsonObject } from "../api/schema.js";
import { detokenize, tokenize } from "../api/tokenize.js";
import { ApiError } from "../errors.js";
import type { Callback } from "../hold.js";
import type { Account } from "./account.js";
import type { ServerOptions } from "./options.js";
import type { Exchange } from "./request.js";

/** What is at each path. */

/** An endpoint that takes a JSON body and answers at once. */
export type Command = (
  body: JsonObject,
  context: ApiContext,
  unknownFields: (names: readonly string[]) => void,
  /** Aborted when nobody waits for the answer any more. */
  gone: AbortSignal,
  /** Who pays; null where nobody does. */
  account: Account | null,
) => Promise<object>;

type Answer = (exchange: Exchange, options: ServerOptions) => void | Promise<void>;

interface Place {
  readonly path: string;
  readonly method: "get" | "post";
  /** Asked by those who watch the server: answered while it drains, too. */
  readonly probe?: true;
  /** What its time on the event loop counts as; "request" unless it says otherwise. */
  readonly callback?: Callback;
  /** Takes a key with the scope admin. */
  readonly admin?: true;
  /** Bodies of errors where they are not OpenAI's. */
  readonly errorBody?: (error: ApiError) => object;
}

export type Route = Place &
  (
    | { readonly kind: "answer"; readonly answer: Answer }
    | { readonly kind: "command"; readonly command: Command }
    | { readonly kind: "generate"; readonly endpoint: Endpoint }
  );

const MODEL_PATH = "/v1/models/";
const ADAPTER_PATH = "/v1/adapters/";
const ROUTING = "/routing";
export const STREAM_PATH = "/v1/stream";
const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

function get(path: string, answer: Answer): Route {
  return { path, method: "get", kind: "answer", answer };
}

function probe(path: string, answer: Answer): Route {
  return { path, method: "get", probe: true, kind: "answer", answer };
}

function post(path: string, command: Command, errorBody?: Place["errorBody"]): Route {
  const place = { path, method: "post", kind: "command", command } as const;
  return errorBody === undefined ? place : { ...place, errorBody };
}

function manage(path: string, command: Command): Route {
  return { path, method: "post", admin: true, kind: "command", command };
}

/** A command whose tokens count for the limits of the key, as a request of its own. */
function counted<Answer extends object>(
  command: (...args: Parameters<Command>) => Promise<Answer>,
  tokens: (answer: Answer, body: JsonObject) => number,
): Command {
  return async (body, context, unknownFields, gone, account) => {
    account?.admit();
    const answer = await command(body, context, unknownFields, gone, account);
    account?.charge(tokens(answer, body));
    return answer;
  };
}

function stream(path: string, endpoint: Endpoint, errorBody?: Place["errorBody"]): Route {
  const place = { path, method: "post", kind: "generate", endpoint } as const;
  return errorBody === undefined ? place : { ...place, errorBody };
}

const ready: Answer = (exchange, { lifecycle }) => {
  const { status, body } = readiness(lifecycle());
  exchange.json(status, body);
};

const metrics: Answer = async (exchange, { metricsText }) => {
  exchange.send(200, METRICS_TYPE, await metricsText());
};

/** The playground and its parts, where it is served. */
const page: Answer = (exchange, { pages }) => {
  const file = pages?.find(exchange.path);
  if (file === undefined) throw new ApiError("not_found", { message: nothingAt(exchange.path) });
  if (file.isKnown(exchange.knownVersion)) exchange.empty(304, file.headers);
  else exchange.send(200, file.contentType, file.text, file.headers);
};

/** Answers with what the model's context says. */
function about(tell: (context: ApiContext, path: string) => object | Promise<object>): Answer {
  return async (exchange, { lifecycle }) =>
    exchange.answer(await tell(requireContext(lifecycle()), exchange.path));
}

export const ROUTES: readonly Route[] = [
  get("/", page),
  get("/assets/*", page),
  probe("/livez", (exchange) => exchange.json(200, { status: "ok" })),
  probe("/readyz", ready),
  probe("/health", ready),
  { ...probe("/metrics", metrics), callback: "metrics" },
  get("/version", (exchange, { version }) => exchange.json(200, { version })),
  get("/v1/models", about(listModels)),
  get(
    `${MODEL_PATH}*`,
    about((context, path) => oneModel(modelName(path), context)),
  ),
  get("/v1/adapters", about(listAdapters)),
  get(
    `${ADAPTER_PATH}*`,
    about((context, path) => adapterRouting(routedName(path), context)),
  ),
  manage("/v1/load_lora_adapter", loadAdapter),
  manage("/v1/unload_lora_adapter", unloadAdapter),
  stream("/v1/completions", completions),
  stream("/v1/chat/completions", chat),
  stream("/v1/responses", responses),
  stream("/v1/messages", messages, messagesError),
  post(
    "/v1/messages/count_tokens",
    counted(countTokens, ({ input_tokens }) => input_tokens),
    messagesError,
  ),
  post("/v1/embeddings", embeddings),
  post(
    "/tokenize",
    counted(tokenize, ({ count }) => count),
  ),
  post(
    "/detokenize",
    counted(detokenize, (_, { tokens }) => (tokens as readonly unknown[]).length),
  ),
  get(STREAM_PATH, (exchange) =>
    exchange.error(new ApiError("upgrade_required"), [
      ["Upgrade", "websocket"],
      ["Connection", "Upgrade"],
    ]),
  ),
];

export function nothingAt(path: string): string {
  return `There is nothing at ${path}.`;
}

function modelName(path: string): string {
  return decoded(path.slice(MODEL_PATH.length), path);
}

/** Of an adapter whose routing is asked for: nothing else is below the path of adapters. */
function routedName(path: string): string {
  if (!path.endsWith(ROUTING)) throw new ApiError("not_found", { message: nothingAt(path) });
  return decoded(path.slice(ADAPTER_PATH.length, -ROUTING.length), path);
}

function decoded(part: string, path: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new ApiError("not_found", { message: `${path} is not a valid URL.` });
  }
}
