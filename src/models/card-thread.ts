import { Worker } from "node:worker_threads";
import { entered } from "../hold.js";
import type { AdapterCard } from "./card.js";
import { ModelError } from "./model-error.js";

export interface CardOrder {
  readonly id: number;
  readonly folder: string;
}

export type CardAnswer = { readonly id: number } & (
  | { readonly card: AdapterCard }
  | { readonly fault: string }
);

interface Waiting {
  resolve(card: AdapterCard): void;
  reject(error: Error): void;
}

/**
 * Reads cards on a thread of its own, since parsing one takes milliseconds that cannot be divided. The thread is
 * started with the first card; idle, it keeps no process alive.
 */
export class CardThread {
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | null = null;
  #orders = 0;

  /** The card in a folder. Rejects with ModelError that names what is wrong. */
  read(folder: string): Promise<AdapterCard> {
    return new Promise((resolve, reject) => {
      const order: CardOrder = { id: this.#orders++, folder };
      this.#waiting.set(order.id, { resolve, reject });
      this.#worker ??= this.#start();
      this.#worker.ref();
      this.#worker.postMessage(order);
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL("./card-worker.js", import.meta.url));
    worker.on("message", (answer: CardAnswer) => {
      entered("adapter");
      const { resolve, reject } = this.#waiting.get(answer.id)!;
      this.#waiting.delete(answer.id);
      if (this.#waiting.size === 0) worker.unref();
      if ("card" in answer) resolve(answer.card);
      else reject(new ModelError(answer.fault));
    });
    // It dies of what no card should do, such as to fill the memory; the next order starts another.
    worker.on("error", (error) => {
      entered("adapter");
      this.#worker = null;
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
    return worker;
  }
}
