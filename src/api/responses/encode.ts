import { type ApiError, errorBody } from "../../errors.js";
import type { Choice, Delta, TokenPiece } from "../choice.js";
import type { Encoder, Envelope, Usage, WholeChoice } from "../encode.js";
import { chatLogprobs, type TokenNames } from "../logprobs.js";
import { namedEvent } from "../named-events.js";
import type { ResponseJob } from "./responses.js";

/** A Response and the events that build it, in the order that OpenAI's clients count on. */

type Status = "in_progress" | "completed" | "incomplete" | "failed";

interface MessageItem {
  readonly type: "message";
  readonly id: string;
  text: string;
  readonly logprobs: object[];
  status: Status;
}

export class ResponseEncoder implements Encoder {
  readonly #job: ResponseJob;
  readonly #envelope: Envelope;
  readonly #names: TokenNames;
  readonly #items: MessageItem[] = [];
  #status: Status = "in_progress";
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

  delta(_choice: Choice, { text, pieces }: Delta): string {
    const logprobs = this.#logprobs(pieces);
    if (text === "" && logprobs.length === 0) return "";
    const open = this.#items.at(-1);
    const item = open?.status === "in_progress" ? open : this.#newMessage();
    const opening = item === open ? "" : this.#opening(item);
    item.text += text;
    item.logprobs.push(...logprobs);
    return (
      opening +
      this.#event("response.output_text.delta", { ...this.#place(item), delta: text, logprobs })
    );
  }

  finish({ finishReason }: Choice): string {
    this.#status = finishReason === "length" ? "incomplete" : "completed";
    const open = this.#items.at(-1);
    return open?.status === "in_progress" ? this.#closing(open) : "";
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

  whole(choices: readonly WholeChoice[], usage: Usage): string {
    for (const { choice, ...delta } of choices) {
      this.delta(choice, delta);
      this.finish(choice);
    }
    return JSON.stringify(this.#response(usage));
  }

  #newMessage(): MessageItem {
    const id = `msg_${this.#envelope.id}_${this.#items.length}`;
    const item: MessageItem = {
      type: "message",
      id,
      text: "",
      logprobs: [],
      status: "in_progress",
    };
    this.#items.push(item);
    return item;
  }

  #opening(item: MessageItem): string {
    const output_index = this.#items.length - 1;
    return (
      this.#event("response.output_item.added", {
        output_index,
        item: { ...itemObject(item), content: [] },
      }) +
      this.#event("response.content_part.added", {
        ...this.#place(item),
        part: partObject(item),
      })
    );
  }

  #closing(item: MessageItem): string {
    const place = this.#place(item);
    item.status = this.#status;
    return (
      this.#event("response.output_text.done", {
        ...place,
        text: item.text,
        logprobs: item.logprobs,
      }) +
      this.#event("response.content_part.done", { ...place, part: partObject(item) }) +
      this.#event("response.output_item.done", {
        output_index: place.output_index,
        item: itemObject(item),
      })
    );
  }

  #place(item: MessageItem) {
    return { item_id: item.id, output_index: this.#items.indexOf(item), content_index: 0 };
  }

  #event(type: string, fields: object): string {
    return namedEvent(type, { sequence_number: this.#events++, ...fields });
  }

  #logprobs(pieces: readonly TokenPiece[]): readonly object[] {
    return this.#job.logprobs === null ? [] : chatLogprobs(pieces, this.#names).content;
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

function itemObject(item: MessageItem) {
  const { type, id, status } = item;
  return { type, id, status, role: "assistant", content: [partObject(item)] };
}

function partObject({ text, logprobs }: MessageItem) {
  return { type: "output_text", text, annotations: [], logprobs };
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
