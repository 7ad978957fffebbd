import { type ApiError, errorBody } from "../../errors.js";
import { autoFields } from "../auto.js";
import type { Choice, Delta, TokenPiece } from "../choice.js";
import type { Chunk, Encoder, Envelope, Usage, WholeChoice } from "../encode.js";
import { chatLogprobs, type TokenNames } from "../logprobs.js";
import { namedEvent, namedEventPieces } from "../named-events.js";
import type { CallDelta } from "../tool-calls.js";
import {
  type CallItem,
  type Item,
  type ItemStatus,
  itemObject,
  type MessageItem,
  newCall,
  newMessage,
  partObject,
} from "./items.js";
import type { ResponseJob } from "./responses.js";

/** A Response and the events that build it, in the order that OpenAI's clients count on. */
export class ResponseEncoder implements Encoder {
  readonly #job: ResponseJob;
  readonly #envelope: Envelope;
  readonly #names: TokenNames;
  readonly #items: Item[] = [];
  /** Of `#items`, what grows now: always the last. */
  #open: Item | null = null;
  #status: ItemStatus = "in_progress";
  #events = 0;
  /** What happens is told by no events: the answer is not streamed. */
  #silent = false;

  constructor(job: ResponseJob, envelope: Envelope, names: TokenNames) {
    this.#job = job;
    this.#envelope = envelope;
    this.#names = names;
  }

  start(): string {
    const response = this.#response(null);
    return (
      this.#shortEvent("response.created", { response }) +
      this.#shortEvent("response.in_progress", { response })
    );
  }

  delta(_choice: Choice, { text, calls, pieces }: Delta): Chunk {
    const told = text === "" && pieces.length === 0 ? "" : this.#addText(text, pieces);
    return chain([told, ...calls.map((call) => this.#addToCall(call))]);
  }

  finish({ finishReason }: Choice): Chunk {
    this.#status = finishReason === "length" ? "incomplete" : "completed";
    return this.#close(this.#status);
  }

  usage(usage: Usage): Chunk {
    const long = this.#items.some(isLong);
    return this.#event(`response.${this.#status}`, { response: this.#response(usage) }, long);
  }

  failure(error: ApiError): string {
    const { message, param, code } = errorBody(error).error;
    this.#status = "failed";
    const failed = { ...this.#response(null), error: { code: "server_error", message } };
    return (
      this.#shortEvent("error", { code, message, param }) +
      this.#shortEvent("response.failed", { response: failed })
    );
  }

  whole(choices: readonly WholeChoice[], usage: Usage): object {
    this.#silent = true;
    for (const { choice, ...delta } of choices) {
      this.delta(choice, delta);
      this.finish(choice);
    }
    return this.#response(usage);
  }

  #addText(text: string, pieces: readonly TokenPiece[]): Chunk {
    const opening = this.#open?.type === "message" ? "" : this.#openMessage();
    const item = this.#open as MessageItem;
    item.text += text;
    if (this.#job.logprobs !== null) for (const piece of pieces) item.pieces.push(piece);
    if (this.#silent) return opening;
    const logprobs = this.#job.logprobs === null ? [] : chatLogprobs(pieces, this.#names).content;
    const place = { ...this.#place(item), content_index: 0 };
    const fields = { ...place, delta: text, logprobs };
    return chain([opening, this.#shortEvent("response.output_text.delta", fields)]);
  }

  #addToCall({ opening, arguments: text }: CallDelta): Chunk {
    const begun = opening === null ? "" : this.#openItem(newCall(this.#itemId("fc"), opening));
    if (text === "") return begun;
    const item = this.#open as CallItem;
    item.arguments += text;
    const fields = { ...this.#place(item), delta: text };
    return chain([begun, this.#shortEvent("response.function_call_arguments.delta", fields)]);
  }

  #openMessage(): Chunk {
    const item = newMessage(this.#itemId("msg"));
    const added = this.#openItem(item);
    const place = { ...this.#place(item), content_index: 0 };
    const fields = { ...place, part: partObject(item, this.#names) };
    return chain([added, this.#shortEvent("response.content_part.added", fields)]);
  }

  #openItem(item: Item): Chunk {
    const closing = this.#close("completed");
    this.#items.push(item);
    this.#open = item;
    const whole = itemObject(item, this.#names);
    const shown = item.type === "message" ? { ...whole, content: [] } : whole;
    const { output_index } = this.#place(item);
    const added = this.#shortEvent("response.output_item.added", { output_index, item: shown });
    return chain([closing, added]);
  }

  #close(status: ItemStatus): Chunk {
    const item = this.#open;
    if (item === null) return "";
    this.#open = null;
    item.status = status;
    const { output_index } = this.#place(item);
    const done = item.type === "message" ? this.#closeText(item) : this.#closeCall(item);
    const fields = { output_index, item: itemObject(item, this.#names) };
    return chain([done, this.#event("response.output_item.done", fields, isLong(item))]);
  }

  #closeText(item: MessageItem): Chunk {
    const place = { ...this.#place(item), content_index: 0 };
    const part = partObject(item, this.#names);
    const { logprobs } = part;
    const [text, long] = [item.text, isLong(item)];
    return chain([
      this.#event("response.output_text.done", { ...place, text, logprobs }, long),
      this.#event("response.content_part.done", { ...place, part }, long),
    ]);
  }

  #closeCall(item: CallItem): string {
    const { name, arguments: text } = item;
    const fields = { ...this.#place(item), name, arguments: text };
    return this.#shortEvent("response.function_call_arguments.done", fields);
  }

  #itemId(prefix: string): string {
    return `${prefix}_${this.#envelope.id}_${this.#items.length}`;
  }

  #place(item: Item) {
    return { item_id: item.id, output_index: this.#items.indexOf(item) };
  }

  #shortEvent(type: string, fields: object): string {
    return this.#silent ? "" : namedEvent(type, this.#numbered(fields));
  }

  /** `long`: its fields have lists that are better written in steps. */
  #event(type: string, fields: object, long: boolean): Chunk {
    if (!long || this.#silent) return this.#shortEvent(type, fields);
    return namedEventPieces(type, this.#numbered(fields));
  }

  #numbered(fields: object): object {
    return { sequence_number: this.#events++, ...fields };
  }

  #response(usage: Usage | null): object {
    const { id, created } = this.#envelope;
    const reason = this.#status === "incomplete" ? { reason: "max_output_tokens" } : null;
    return {
      id,
      object: "response",
      created_at: created,
      status: this.#status,
      background: false,
      error: null,
      incomplete_details: reason,
      model: this.#job.model.name,
      ...autoFields(this.#job),
      output: this.#items.map((item) => itemObject(item, this.#names)),
      previous_response_id: null,
      reasoning: { effort: null, summary: null },
      service_tier: "default",
      store: false,
      top_logprobs: this.#job.logprobs ?? 0,
      ...this.#job.repeated,
      usage: usage === null ? null : usageObject(usage),
    };
  }
}

/** Tokens with log-probabilities that are written at once. */
const SHORT = 64;

function isLong(item: Item): boolean {
  return item.type === "message" && item.pieces.length > SHORT;
}

/** One after the other. */
function chain(chunks: readonly Chunk[]): Chunk {
  return chunks.every((chunk) => typeof chunk === "string") ? chunks.join("") : pieces(chunks);
}

function* pieces(chunks: readonly Chunk[]): Generator<string, void> {
  for (const chunk of chunks) {
    if (typeof chunk === "string") yield chunk;
    else yield* chunk;
  }
}

function usageObject({ promptTokens, cachedTokens, completionTokens }: Usage) {
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: cachedTokens, cache_write_tokens: 0 },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: promptTokens + completionTokens,
  };
}
