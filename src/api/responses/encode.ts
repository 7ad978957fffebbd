import { type ApiError, errorBody } from "../../errors.js";
import type { Choice, Delta, TokenPiece } from "../choice.js";
import type { Encoder, Envelope, Usage, WholeChoice } from "../encode.js";
import { chatLogprobs, type TokenNames } from "../logprobs.js";
import { namedEvent } from "../named-events.js";
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

  constructor(job: ResponseJob, envelope: Envelope, names: TokenNames) {
    this.#job = job;
    this.#envelope = envelope;
    this.#names = names;
  }

  start(): string {
    const response = this.#response(null);
    return (
      this.#event("response.created", { response }) +
      this.#event("response.in_progress", { response })
    );
  }

  delta(_choice: Choice, { text, calls, pieces }: Delta): string {
    const told = text === "" && pieces.length === 0 ? "" : this.#addText(text, pieces);
    return told + calls.map((call) => this.#addToCall(call)).join("");
  }

  finish({ finishReason }: Choice): string {
    this.#status = finishReason === "length" ? "incomplete" : "completed";
    return this.#close(this.#status);
  }

  usage(usage: Usage): string {
    return this.#event(`response.${this.#status}`, { response: this.#response(usage) });
  }

  failure(error: ApiError): string {
    const { message, param, code } = errorBody(error).error;
    this.#status = "failed";
    const failed = { ...this.#response(null), error: { code: "server_error", message } };
    return (
      this.#event("error", { code, message, param }) +
      this.#event("response.failed", { response: failed })
    );
  }

  whole(choices: readonly WholeChoice[], usage: Usage): object {
    for (const { choice, ...delta } of choices) {
      this.delta(choice, delta);
      this.finish(choice);
    }
    return this.#response(usage);
  }

  #addText(text: string, pieces: readonly TokenPiece[]): string {
    const opening = this.#open?.type === "message" ? "" : this.#openMessage();
    const item = this.#open as MessageItem;
    const logprobs = this.#job.logprobs === null ? [] : chatLogprobs(pieces, this.#names).content;
    item.text += text;
    item.logprobs.push(...logprobs);
    const place = { ...this.#place(item), content_index: 0 };
    return opening + this.#event("response.output_text.delta", { ...place, delta: text, logprobs });
  }

  #addToCall({ opening, arguments: text }: CallDelta): string {
    const begun = opening === null ? "" : this.#openItem(newCall(this.#itemId("fc"), opening));
    if (text === "") return begun;
    const item = this.#open as CallItem;
    item.arguments += text;
    const fields = { ...this.#place(item), delta: text };
    return begun + this.#event("response.function_call_arguments.delta", fields);
  }

  #openMessage(): string {
    const item = newMessage(this.#itemId("msg"));
    const added = this.#openItem(item);
    const place = { ...this.#place(item), content_index: 0 };
    return added + this.#event("response.content_part.added", { ...place, part: partObject(item) });
  }

  #openItem(item: Item): string {
    const closing = this.#close("completed");
    this.#items.push(item);
    this.#open = item;
    const shown = item.type === "message" ? { ...itemObject(item), content: [] } : itemObject(item);
    const { output_index } = this.#place(item);
    return closing + this.#event("response.output_item.added", { output_index, item: shown });
  }

  #close(status: ItemStatus): string {
    const item = this.#open;
    if (item === null) return "";
    this.#open = null;
    item.status = status;
    const { output_index } = this.#place(item);
    const done = item.type === "message" ? this.#closeText(item) : this.#closeCall(item);
    return (
      done + this.#event("response.output_item.done", { output_index, item: itemObject(item) })
    );
  }

  #closeText(item: MessageItem): string {
    const place = { ...this.#place(item), content_index: 0 };
    const { text, logprobs } = item;
    return (
      this.#event("response.output_text.done", { ...place, text, logprobs }) +
      this.#event("response.content_part.done", { ...place, part: partObject(item) })
    );
  }

  #closeCall(item: CallItem): string {
    const { name, arguments: text } = item;
    const fields = { ...this.#place(item), name, arguments: text };
    return this.#event("response.function_call_arguments.done", fields);
  }

  #itemId(prefix: string): string {
    return `${prefix}_${this.#envelope.id}_${this.#items.length}`;
  }

  #place(item: Item) {
    return { item_id: item.id, output_index: this.#items.indexOf(item) };
  }

  #event(type: string, fields: object): string {
    return namedEvent(type, { sequence_number: this.#events++, ...fields });
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
      output: this.#items.map(itemObject),
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

function usageObject({ promptTokens, cachedTokens, completionTokens }: Usage) {
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: cachedTokens, cache_write_tokens: 0 },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: promptTokens + completionTokens,
  };
}
