import { Worker } from "node:worker_threads";
import { ApiError } from "../errors.js";
import { entered } from "../hold.js";
import { jsonText } from "../json/write.js";
import { spread } from "../turns.js";
import type { ChatMessage, RenderOptions } from "./text.js";

export interface TemplateSource {
  readonly source: string;
  /** bos_token, eos_token and others that templates print. */
  readonly specialTokens: Readonly<Record<string, string>>;
}

export interface RenderOrder {
  readonly id: number;
  /** JSON of Rendered: copying many values in one go would hold the event loop. */
  readonly json: string;
}

export interface Rendered {
  readonly messages: readonly ChatMessage[];
  readonly options: RenderOptions;
}

export type RenderAnswer = { readonly id: number } & (
  | { readonly text: string }
  | { readonly refusal: string }
);

interface Waiting {
  resolve(text: string): void;
  reject(error: ApiError): void;
}

/** Renders on a thread of its own, which is started when it is first needed; idle, it keeps no process alive. */
export class TemplateThread {
  readonly #source: TemplateSource;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | null = null;
  #orders = 0;

  constructor(source: TemplateSource) {
    this.#source = source;
  }

  /** Rejects with ApiError. */
  async render(messages: readonly ChatMessage[], options: RenderOptions): Promise<string> {
    const rendered: Rendered = { messages, options };
    const json = await spread(jsonText(rendered));
    return new Promise((resolve, reject) => {
      const order: RenderOrder = { id: this.#orders++, json };
      this.#waiting.set(order.id, { resolve, reject });
      this.#worker ??= this.#start();
      this.#worker.ref();
      this.#worker.postMessage(order);
    });
  }

  #start(): Worker {
    const file = new URL("./template-worker.js", import.meta.url);
    const worker = new Worker(file, { workerData: this.#source });
    worker.on("message", (answer: RenderAnswer) => {
      entered("text");
      const { resolve, reject } = this.#waiting.get(answer.id)!;
      this.#waiting.delete(answer.id);
      if (this.#waiting.size === 0) worker.unref();
      if ("text" in answer) resolve(answer.text);
      else reject(new ApiError("invalid_messages", { message: answer.refusal, param: "messages" }));
    });
    // It dies of what no template should do, such as to fill the memory; the next order starts another.
    worker.on("error", (cause) => {
      entered("text");
      this.#worker = null;
      for (const { reject } of this.#waiting.values()) {
        reject(new ApiError("engine_failed", { cause }));
      }
      this.#waiting.clear();
    });
    return worker;
  }
}
