import { EventReader } from "./event-reader.js";
import { ask, type ErrorFields, parseJson, type Server, serverError } from "./server.js";

/** A chat with a model, streamed. */

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** The body of a chat completion; what is not named here goes to the server as it is. */
export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  readonly [field: string]: unknown;
}

export interface ChatUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

export interface ChatChunk {
  /** Who answers. */
  readonly model?: string;
  /** Where the server was asked to choose: how near the nearest adapter's examples are. */
  readonly auto?: { readonly nearest: string | null; readonly score: number };
  readonly choices: readonly {
    readonly delta: { readonly content?: string };
    readonly finish_reason: string | null;
    readonly token_ids?: readonly number[];
    readonly [field: string]: unknown;
  }[];
  readonly usage?: ChatUsage | null;
}

/** The chunks of an answer as they come. Throws ServerError, and what an aborted `signal` throws. */
export async function* streamChat(
  server: Server,
  request: ChatRequest,
  signal: AbortSignal,
): AsyncGenerator<ChatChunk> {
  const body = { ...request, stream: true, stream_options: { include_usage: true } };
  const response = await ask(server, "/v1/chat/completions", body, signal);
  const reader = response.body!.getReader();
  try {
    yield* readChunks(reader, signal, response.status);
  } catch (error) {
    reader.cancel().catch(() => {}); // what is wrong is told already
    throw error;
  }
}

async function* readChunks(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  signal: AbortSignal,
  status: number,
): AsyncGenerator<ChatChunk> {
  const events = new EventReader();
  const decoder = new TextDecoder();
  for (;;) {
    const piece = await reader.read().catch((error: unknown) => {
      if (signal.aborted) throw error;
      return null;
    });
    if (piece === null || piece.done) throw serverError(0, CUT_OFF);
    for (const data of events.push(decoder.decode(piece.value, { stream: true }))) {
      if (data === "[DONE]") return;
      const chunk = parseJson<ChatChunk & { readonly error?: ErrorFields }>(data, status);
      if (chunk.error !== undefined) throw serverError(status, chunk.error);
      yield chunk;
    }
  }
}

const CUT_OFF = { message: "the answer was cut off", code: null, param: null };
