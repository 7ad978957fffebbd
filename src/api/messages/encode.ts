import type { ApiError } from "../../errors.js";
import { autoFields } from "../auto.js";
import type { Choice, Delta } from "../choice.js";
import type { Encoder, Envelope, Usage, WholeChoice } from "../encode.js";
import type { Job } from "../job.js";
import { namedEvent } from "../named-events.js";
import type { CallDelta } from "../tool-calls.js";
import { messagesError } from "./errors.js";

/** A Message and the events that build it, block by block, as Anthropic's clients count on. */

interface TextBlock {
  readonly type: "text";
  text: string;
}

interface CallBlock {
  readonly type: "tool_use";
  readonly id: string;
  readonly name: string;
  arguments: string; // JSON text
}

type Block = TextBlock | CallBlock;

const NO_USAGE: Usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };

export class MessageEncoder implements Encoder {
  readonly #job: Job;
  readonly #envelope: Envelope;
  readonly #blocks: Block[] = [];
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

  delta(_choice: Choice, { text, calls }: Delta): string {
    const told = text === "" ? "" : this.#addText(text);
    return told + calls.map((call) => this.#addToCall(call)).join("");
  }

  finish({ finishReason, stopString }: Choice): string {
    this.#stopSequence = stopString;
    const called = this.#blocks.some(({ type }) => type === "tool_use");
    if (finishReason === "length") this.#stopReason = "max_tokens";
    else if (called) this.#stopReason = "tool_use";
    else this.#stopReason = stopString === null ? "end_turn" : "stop_sequence";
    return this.#close();
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

  whole(choices: readonly WholeChoice[], usage: Usage): object {
    for (const { choice, ...delta } of choices) {
      this.delta(choice, delta);
      this.finish(choice);
    }
    return this.#message(usage);
  }

  #addText(text: string): string {
    const last = this.#blocks.at(-1);
    const block: TextBlock = last?.type === "text" ? last : { type: "text", text: "" };
    const opening = block === last ? "" : this.#open(block);
    block.text += text;
    return opening + this.#blockDelta({ type: "text_delta", text });
  }

  #addToCall({ opening, arguments: text }: CallDelta): string {
    const begun =
      opening === null ? "" : this.#open({ type: "tool_use", ...opening, arguments: "" });
    if (text === "") return begun;
    const block = this.#blocks.at(-1) as CallBlock;
    block.arguments += text;
    return begun + this.#blockDelta({ type: "input_json_delta", partial_json: text });
  }

  #open(block: Block): string {
    const closing = this.#close();
    this.#blocks.push(block);
    const content_block =
      block.type === "text"
        ? blockObject(block)
        : { type: block.type, id: block.id, name: block.name, input: {} };
    return (
      closing + namedEvent("content_block_start", { index: this.#blocks.length - 1, content_block })
    );
  }

  #blockDelta(delta: object): string {
    return namedEvent("content_block_delta", { index: this.#blocks.length - 1, delta });
  }

  #close(): string {
    const index = this.#blocks.length - 1;
    return index < 0 ? "" : namedEvent("content_block_stop", { index });
  }

  #message(usage: Usage) {
    return {
      id: this.#envelope.id,
      type: "message",
      role: "assistant",
      model: this.#job.model.name,
      ...autoFields(this.#job),
      content: this.#blocks.filter(isWhole).map(blockObject),
      stop_reason: this.#stopReason,
      stop_sequence: this.#stopSequence,
      usage: usageObject(usage),
    };
  }
}

function blockObject(block: Block) {
  if (block.type === "text") return { type: block.type, text: block.text, citations: null };
  const { type, id, name, arguments: text } = block;
  return { type, id, name, input: JSON.parse(text) as unknown };
}

/** A call that max_tokens has cut off has no input that could be told. */
function isWhole(block: Block): boolean {
  if (block.type === "text") return true;
  try {
    JSON.parse(block.arguments);
    return true;
  } catch {
    return false;
  }
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
