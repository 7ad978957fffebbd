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
  readonly folder: string;
  resolve(card: AdapterCard): void;
  reject(error: Error): void;
}

/**
 * Reads cards on a thread of its own, since parsing one takes milliseconds that cannot be divided. The thread is
 * started with the first card; idle, it keeps no process alive.
 */
export class CardThread {
  readonly #script: URL;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | null = null;
  #orders = 0;

  constructor(script = new URL("./card-worker.js", import.meta.url)) {
    this.#script = script;
  }

  /** The card in a folder. Rejects with ModelError that names what is wrong. */
  read(folder: string): Promise<AdapterCard> {
    return new Promise((resolve, reject) => {
      const order: CardOrder = { id: this.#orders++, folder };
      this.#waiting.set(order.id, { folder, resolve, reject });
      this.#order([order]);
    });
  }

  #order(orders: readonly CardOrder[]): void {
    if (orders.length === 0) return;
    this.#worker ??= this.#start();
    this.#worker.ref();
    for (const order of orders) this.#worker.postMessage(order);
  }

  #start(): Worker {
    const worker = new Worker(this.#script);
    worker.on("message", (answer: CardAnswer) => {
      entered("adapter");
      const { resolve, reject } = this.#waiting.get(answer.id)!;
      this.#waiting.delete(answer.id);
      if (this.#waiting.size === 0) worker.unref();
      if ("card" in answer) resolve(answer.card);
      else reject(new ModelError(answer.fault));
    });
    // It dies of what no card should do, such as to fill the memory: that card is refused, and another reads the rest.
    let fault = new Error("the thread that reads cards has ended");
    worker.on("error", (error) => {
      fault = error;
    });
    worker.on("exit", () => {
      entered("adapter");
      this.#worker = null;
      const [read, ...others] = this.#waiting; // all answers are there by now, and cards are read in their order
      if (read === undefined) return;
      this.#waiting.delete(read[0]);
      read[1].reject(fault);
      this.#order(others.map(([id, { folder }]) => ({ id, folder })));
    });
    return worker;
  }
}
