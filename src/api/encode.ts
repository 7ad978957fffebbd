import { type ApiError, errorBody } from "../errors.js";
import { jsonOf } from "../json/write.js";
import { autoFields } from "./auto.js";
import type { Choice, ChoiceFinish, Delta, TokenPiece } from "./choice.js";
import type { Job } from "./job.js";
import { chatLogprobs, completionLogprobs, lazyChatLogprobs, type TokenNames } from "./logprobs.js";
import { RoutingFields } from "./routing.js";
import { type CallDelta, type WholeCall, wholeCalls } from "./tool-calls.js";

/**
 * OpenAI's answers as JSON text. A chunk is written for every token of every stream, so its constant
 * parts are made once per request and only what changes is serialised per token.
 */

export interface Envelope {
  /** Any JSON value: WebSocket clients name their requests themselves. */
  readonly id: string | number;
  readonly created: number; // seconds
}

export interface Usage {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

/** A finished choice of an answer that is not streamed. */
export interface WholeChoice {
  readonly choice: Choice;
  readonly index: number; // in the answer
  readonly text: string;
  readonly calls: readonly CallDelta[];
  readonly tokens: readonly number[];
  readonly pieces: readonly TokenPiece[];
  readonly routes: readonly string[]; // JSON, of each token
}

/** Text for the client; "" is nothing. In pieces, each a step of work, where it may be long. */
export type Chunk = string | Iterable<string>;

export interface Encoder {
  /** The chunk before a choice's first text, where the endpoint has one. */
  start(choice: Choice): string | null;
  /** "" where there is nothing to show: tokens may be syntax. */
  delta(choice: Choice, delta: Delta): Chunk;
  finish(choice: Choice, last: Delta): Chunk;
  usage(usage: Usage): Chunk;
  /** Ends a stream that has begun. */
  failure(error: ApiError): string;
  /** Plain, but for the lazy lists of src/json in it: its JSON may be long. */
  whole(choices: readonly WholeChoice[], usage: Usage): object;
}

function usageObject({ promptTokens, cachedTokens, completionTokens }: Usage) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    completion_tokens_details: { reasoning_tokens: 0 },
  };
}

/** What both endpoints' chunks have in common: all but the choice itself. */
class Chunks {
  readonly #head: string;
  readonly #beforeFields: string;
  readonly #afterFields: string;

  constructor(object: string, envelope: Envelope, job: Job) {
    const { id, created } = envelope;
    const head = JSON.stringify({
      ...{ id, object, created, model: job.model.name },
      ...autoFields(job),
    });
    this.#head = `${head.slice(0, -1)},"choices":[`;
    this.#beforeFields = `${this.#head}{`;
    this.#afterFields = job.includeUsage ? `}],"usage":null}` : "}]}";
  }

  choice(fields: string): string {
    return this.#beforeFields + fields + this.#afterFields;
  }

  usage(usage: Usage): string {
    return `${this.#head}],"usage":${JSON.stringify(usageObject(usage))}}`;
  }
}

function finishField(reason: ChoiceFinish | null): string {
  return reason === null ? `"finish_reason":null` : `"finish_reason":"${reason}"`;
}

/** What the encoders of both endpoints have in common: all but the choices. */
abstract class OpenAiEncoder {
  protected readonly job: Job;
  protected readonly envelope: Envelope;
  protected readonly names: TokenNames;
  protected readonly chunks: Chunks;
  protected readonly routing: RoutingFields;
  protected readonly withLogprobs: boolean;
  readonly #withTokenIds: boolean;
  readonly #started = new Set<number>(); // choices that had a chunk with ids

  constructor(chunkObject: string, job: Job, envelope: Envelope, names: TokenNames) {
    this.job = job;
    this.envelope = envelope;
    this.names = names;
    this.chunks = new Chunks(chunkObject, envelope, job);
    this.routing = new RoutingFields(job.mixing);
    this.withLogprobs = job.logprobs !== null;
    this.#withTokenIds = job.returnTokenIds;
  }

  usage(usage: Usage): string {
    return this.chunks.usage(usage);
  }

  failure(error: ApiError): string {
    return JSON.stringify(errorBody(error));
  }

  /** What was asked for of the tokens of a chunk, with the comma before it. */
  protected tokenFields(
    choice: Choice,
    tokens: readonly number[],
    routes: readonly string[],
  ): string {
    return this.#idFields(choice, tokens) + this.routing.chunk(choice.index, routes);
  }

  #idFields({ index, prompt }: Choice, tokens: readonly number[]): string {
    if (!this.#withTokenIds) return "";
    const first = !this.#started.has(index);
    this.#started.add(index);
    const promptIds = first ? `,"prompt_token_ids":${JSON.stringify(prompt.ids)}` : "";
    return `${promptIds},"token_ids":${JSON.stringify(tokens)}`;
  }
}

export class ChatEncoder extends OpenAiEncoder implements Encoder {
  constructor(job: Job, envelope: Envelope, names: TokenNames) {
    super("chat.completion.chunk", job, envelope, names);
  }

  start(choice: Choice): string {
    const ids = this.tokenFields(choice, [], []);
    return this.#chunk(choice, `{"role":"assistant","content":""}`, "null", null, ids);
  }

  /** Of the syntax around a call nothing is shown but its tokens, where they were asked for. */
  delta(choice: Choice, { text, calls, tokens, pieces, routes }: Delta): string {
    const ids = this.tokenFields(choice, tokens, routes);
    const logprobs = this.#logprobs(pieces);
    if (calls.length > 0) {
      const delta = JSON.stringify({ tool_calls: calls.map(callChunk) });
      return this.#chunk(choice, delta, logprobs, null, ids);
    }
    const silent = text === "" && this.job.toolFormat !== null;
    if (silent && ids === "" && pieces.length === 0) return "";
    const content = silent ? "{}" : `{"content":${JSON.stringify(text)}}`;
    return this.#chunk(choice, content, logprobs, null, ids);
  }

  finish(choice: Choice, { tokens, routes }: Delta): string {
    const ids = this.tokenFields(choice, tokens, routes);
    return this.#chunk(choice, "{}", "null", choice.finishReason, ids);
  }

  whole(choices: readonly WholeChoice[], usage: Usage): object {
    return {
      id: this.envelope.id,
      object: "chat.completion",
      created: this.envelope.created,
      model: this.job.model.name,
      ...autoFields(this.job),
      choices: choices.map(({ choice, index, text, calls, tokens, pieces, routes }) => ({
        index,
        message: {
          role: "assistant",
          content: calls.length > 0 && text === "" ? null : text,
          refusal: null,
          ...(calls.length > 0 ? { tool_calls: wholeCalls(calls).map(callObject) } : {}),
        },
        logprobs: this.withLogprobs ? lazyChatLogprobs(pieces, this.names) : null,
        finish_reason: choice.finishReason,
        ...wholeTokenIds(this.job, choice, tokens),
        ...this.routing.whole(routes),
      })),
      usage: usageObject(usage),
    };
  }

  #logprobs(pieces: readonly TokenPiece[]): string {
    return this.withLogprobs ? JSON.stringify(chatLogprobs(pieces, this.names)) : "null";
  }

  #chunk(
    choice: Choice,
    delta: string,
    logprobs: string,
    reason: ChoiceFinish | null,
    tokenIds: string,
  ): string {
    return this.chunks.choice(
      `"index":${choice.index},"delta":${delta},"logprobs":${logprobs},${finishField(reason)}${tokenIds}`,
    );
  }
}

export class CompletionEncoder extends OpenAiEncoder implements Encoder {
  constructor(job: Job, envelope: Envelope, names: TokenNames) {
    super("text_completion", job, envelope, names);
  }

  start(): null {
    return null;
  }

  delta(choice: Choice, delta: Delta): string {
    const { pieces } = delta;
    const logprobs = this.withLogprobs ? jsonOf(completionLogprobs(pieces, this.names)) : "null";
    return this.#chunk(choice, delta, logprobs, null);
  }

  finish(choice: Choice, last: Delta): string {
    return this.#chunk(choice, last, "null", choice.finishReason);
  }

  whole(choices: readonly WholeChoice[], usage: Usage): object {
    return {
      id: this.envelope.id,
      object: "text_completion",
      created: this.envelope.created,
      model: this.job.model.name,
      choices: choices.map(({ choice, index, text, tokens, pieces, routes }) => ({
        index,
        text,
        finish_reason: choice.finishReason,
        ...wholeTokenIds(this.job, choice, tokens),
        logprobs: this.withLogprobs ? completionLogprobs(pieces, this.names) : null,
        ...this.routing.whole(routes),
      })),
      usage: usageObject(usage),
    };
  }

  #chunk(
    choice: Choice,
    { text, tokens, routes }: Delta,
    logprobs: string,
    reason: ChoiceFinish | null,
  ): string {
    const ids = this.tokenFields(choice, tokens, routes);
    return this.chunks.choice(
      `"index":${choice.index},"text":${JSON.stringify(text)},"logprobs":${logprobs},${finishField(reason)}${ids}`,
    );
  }
}

function callChunk({ index, opening, arguments: text }: CallDelta) {
  if (opening === null) return { index, function: { arguments: text } };
  const { id, name } = opening;
  return { index, id, type: "function", function: { name, arguments: text } };
}

function callObject({ id, name, arguments: text }: WholeCall) {
  return { id, type: "function", function: { name, arguments: text } };
}

function wholeTokenIds(job: Job, choice: Choice, tokens: readonly number[]) {
  return job.returnTokenIds ? { prompt_token_ids: choice.prompt.ids, token_ids: tokens } : {};
}
