/**
 * The client's side of the API: what `smore chat` and the playground page have in common. It uses
 * nothing but fetch, so that it runs in Node.js and in browsers.
 */

/** Where requests go. */
export interface Server {
  /** Without a slash at its end; "" where a page asks its own server. */
  readonly url: string;
  readonly key: string | null;
}

/** What the server said of a request that it did not answer. `status` 0: it could not be reached. */
export class ServerError extends Error {
  override readonly name = "ServerError";
  readonly status: number;
  readonly code: string | null;
  /** The field of the request that is wrong. */
  readonly param: string | null;

  constructor(status: number, message: string, code: string | null, param: string | null) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

/** The answer to a request. Throws ServerError when it is none, and what an aborted `signal` throws. */
export async function ask(
  server: Server,
  path: string,
  body: object | null = null,
  signal: AbortSignal | null = null,
): Promise<Response> {
  const headers: Record<string, string> = {};
  if (server.key !== null) headers.Authorization = `Bearer ${server.key}`;
  if (body !== null) headers["Content-Type"] = "application/json";
  const response = await reach(server, path, {
    method: body === null ? "GET" : "POST",
    headers,
    body: body === null ? null : JSON.stringify(body),
    signal,
  });
  if (!response.ok) throw await refusal(response);
  return response;
}

async function reach(server: Server, path: string, request: RequestInit): Promise<Response> {
  try {
    return await fetch(server.url + path, request);
  } catch (error) {
    if (request.signal?.aborted === true) throw error;
    throw new ServerError(0, `the server cannot be reached: ${reason(error)}`, null, null);
  }
}

/** Node.js hides the socket's reason in the cause. */
function reason(error: unknown): string {
  const { cause, message } = error as Error & { cause?: Error };
  return cause instanceof Error && cause.message !== "" ? cause.message : message;
}

async function refusal(response: Response): Promise<ServerError> {
  const text = await response.text();
  try {
    return serverError(response.status, (JSON.parse(text) as ErrorAnswer).error);
  } catch {
    const said = text.trim().slice(0, 200);
    return new ServerError(response.status, said === "" ? response.statusText : said, null, null);
  }
}

interface ErrorAnswer {
  readonly error: ErrorFields;
}

export interface ErrorFields {
  readonly message: string;
  readonly code: string | null;
  readonly param: string | null;
}

export function serverError(status: number, { message, code, param }: ErrorFields): ServerError {
  return new ServerError(status, message, code, param);
}

/** Throws ServerError where something else than this server has answered, such as a proxy's page. */
export async function readJson<Body>(response: Response): Promise<Body> {
  return parseJson(await response.text(), response.status);
}

export function parseJson<Body>(text: string, status: number): Body {
  try {
    return JSON.parse(text) as Body;
  } catch {
    const said = text.trim().slice(0, 80);
    throw new ServerError(status, `the server's answer is no JSON: ${said}`, null, null);
  }
}

/** What a server that cannot be asked yet says of itself; null when it can. Throws ServerError. */
export async function whyNotReady(server: Server): Promise<string | null> {
  const response = await reach(server, "/readyz", { method: "GET" });
  if (response.ok) return null;
  const { status, progress, detail } = await readJson<Readiness>(response);
  const share = progress === undefined ? "" : ` ${Math.floor(100 * progress)} %`;
  return `${status}${share}${detail ? `, ${detail}` : ""}`;
}

interface Readiness {
  readonly status: string;
  readonly progress?: number;
  readonly detail?: string;
}

export interface ModelEntry {
  readonly id: string;
  /** Null for the base model. */
  readonly parent: string | null;
  readonly max_model_len: number;
  /** What an adapter does, where its card says so. */
  readonly task?: string | null;
}

/** The base first, then its adapters. */
export async function listModels(server: Server): Promise<readonly ModelEntry[]> {
  const { data } = await readJson<{ data: ModelEntry[] }>(await ask(server, "/v1/models"));
  return data;
}
