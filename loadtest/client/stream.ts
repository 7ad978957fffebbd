import http from "node:http";
import https from "node:https";
import { EventReader } from "./event-reader.js";

/** Where requests go, and what all of them have in common. */
export interface Target {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
}

export interface Outcome {
  readonly model: string;
  readonly start: number; // ms of performance.now()
  readonly times: readonly number[]; // of the events with choices, on the same clock
  readonly promptTokens: number; // 0 where the server does not tell
  readonly outputTokens: number;
  readonly usageTold: boolean; // else every event counts as one token
  readonly text: string | null;
  readonly error: string | null; // null = succeeded
}

export interface Sendable {
  readonly model: string;
  readonly body: string;
}

/** A kept connection that the server had closed meanwhile: the request never reached it. */
const CLOSED_BEFORE = "the server closed the connection";

/** Sends requests over connections that are kept, and times the events of their answers. */
export class StreamingClient {
  readonly #target: Target;
  readonly #keepText: boolean;
  readonly #secure: boolean;
  readonly #agent: http.Agent;

  constructor(target: Target, options: { readonly keepText: boolean }) {
    this.#target = target;
    this.#keepText = options.keepText;
    this.#secure = target.url.protocol === "https:";
    this.#agent = new (this.#secure ? https : http).Agent({ keepAlive: true });
  }

  /** Never rejects: what goes wrong is part of the outcome. */
  async send({ model, body }: Sendable): Promise<Outcome> {
    const reader = new EventReader({ keepText: this.#keepText });
    const start = performance.now();
    let fault: string | null;
    do fault = await this.#attempt(body, reader);
    while (fault === CLOSED_BEFORE);
    reader.finish();
    return outcome(model, start, reader, fault);
  }

  /** null when the answer came whole, else what went wrong. */
  #attempt(body: string, reader: EventReader): Promise<string | null> {
    return new Promise((resolve) => {
      const fail = (error: Error) => resolve(error.message);
      const request = this.#request(Buffer.byteLength(body), (response) => {
        request.off("error", failUnanswered).on("error", fail);
        if (response.statusCode !== 200) {
          readAll(response).then((text) => resolve(refusal(response.statusCode, text)), fail);
          return;
        }
        response.on("data", (chunk: Buffer) => reader.push(chunk, performance.now()));
        response.on("end", () => resolve(null));
        response.on("error", fail);
      });
      const failUnanswered = (error: Error) => {
        if (request.reusedSocket) resolve(CLOSED_BEFORE);
        else fail(error);
      };
      request.on("error", failUnanswered);
      request.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }

  #request(
    length: number,
    onResponse: (response: http.IncomingMessage) => void,
  ): http.ClientRequest {
    const { url, headers } = this.#target;
    const options = {
      method: "POST",
      agent: this.#agent,
      headers: { ...headers, "content-type": "application/json", "content-length": length },
    };
    return this.#secure
      ? https.request(url, options, onResponse)
      : http.request(url, options, onResponse);
  }
}

function outcome(model: string, start: number, reader: EventReader, fault: string | null): Outcome {
  const { times, usage, text } = reader;
  const error = fault ?? reader.error ?? (times.length === 0 ? "no token came" : null);
  return {
    model,
    start,
    times,
    promptTokens: usage?.promptTokens ?? 0,
    outputTokens: usage?.outputTokens ?? times.length,
    usageTold: usage !== null,
    text,
    error,
  };
}

function refusal(status: number | undefined, body: string): string {
  return `HTTP ${status}: ${body.slice(0, 300)}`;
}

async function readAll(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}
