import type { ApiError } from "../../errors.js";
import type { Choice, Delta } from "../choice.js";
import type { Encoder, Envelope, Usage, WholeChoice } from "../encode.js";
import type { Job } from "../job.js";
import { namedEvent } from "../named-events.js";
import { messagesError } from "./errors.js";

/** A Message and the events that build it, block by block, as Anthropic's clients count on. */

interface TextBlock {
  readonly type: "text";
  text: string;
}

const NO_USAGE: Usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };

export class MessageEncoder implements Encoder {
  readonly #job: Job;
  readonly #envelope: Envelope;
  readonly #blocks: TextBlock[] = [];
  #stopReason: string | null = null;
  #stopSequence: string | null = null;

  constructor(job: Job, envelope: Envelope) {
    this.#job = job;
    this.#envelope = envelope;
  }

  /** What came from the cache is told at the end. */
  start({ prompt }: Choice): string {
    const usage = { ...NO_USAGE, promptTokens: prompt.ids.length };
    return namedEvent("message_start", { message: this.#message(usage) });
  }

  delta(_choice: Choice, { text }: Delta): string {
    if (text === "") return "";
    const open = this.#blocks.at(-1);
    const block: TextBlock = open ?? { type: "text", text: "" };
    if (open === undefined) this.#blocks.push(block);
    const index = this.#blocks.length - 1;
    const opening =
      open === undefined
        ? namedEvent("content_block_start", { index, content_block: blockObject(block) })
        : "";
    block.text += text;
    return (
      opening + namedEvent("content_block_delta", { index, delta: { type: "text_delta", text } })
    );
  }

  finish({ finishReason, stopString }: Choice): string {
    this.#stopSequence = stopString;
    if (finishReason === "length") this.#stopReason = "max_tokens";
    else this.#stopReason = stopString === null ? "end_turn" : "stop_sequence";
    const open = this.#blocks.length - 1;
    return open < 0 ? "" : namedEvent("content_block_stop", { index: open });
  }

  usage(usage: Usage): string {
    const delta = { stop_reason: this.#stopReason, stop_sequence: this.#stopSequence };
    return (
      namedEvent("message_delta", { delta, usage: usageObject(usage) }) +
      namedEvent("message_stop", {})
    );
  }

  failure(error: ApiError): string {
    return namedEvent("error", messagesError(error));
  }

  whole(choices: readonly WholeChoice[], usage: Usage): string {
    for (const { choice, ...delta } of choices) {
      this.delta(choice, delta);
      this.finish(choice);
    }
    return JSON.stringify(this.#message(usage));
  }

  #message(usage: Usage) {
    return {
      id: this.#envelope.id,
      type: "message",
      role: "assistant",
      model: this.#job.model.name,
      content: this.#blocks.map(blockObject),
      stop_reason: this.#stopReason,
      stop_sequence: this.#stopSequence,
      usage: usageObject(usage),
    };
  }
}

function blockObject({ type, text }: TextBlock) {
  return { type, text, citations: null };
}

/** Anthropic counts what came from the cache apart from the rest of the input. */
function usageObject({ promptTokens, cachedTokens, completionTokens }: Usage) {
  return {
    input_tokens: promptTokens - cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cachedTokens,
    output_tokens: completionTokens,
  };
}
