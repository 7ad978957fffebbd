import { Worker } from "node:worker_threads";
import { ApiError } from "../errors.js";
import { entered } from "../hold.js";
import { ModelError } from "../models/model-error.js";
import { type EncoderFiles, findEncoder } from "./files.js";
import type {
  EncodeOrder,
  EncoderAnswer,
  EncoderInput,
  EncoderSettings,
  Forget,
} from "./messages.js";

export interface Encoded {
  readonly vectors: readonly Float32Array[]; // each of length 1
  readonly tokens: number;
}

export interface EncodeOptions {
  /** What is too long is cut, not refused. */
  readonly cut?: boolean;
  /** Aborted when nobody waits for the vectors any more: what is not computed yet will not be. */
  readonly gone?: AbortSignal | undefined;
}

/** Turns texts into vectors; src/api/embeddings.ts serves it under its name. */
export interface SentenceEncoder {
  readonly name: string;
  readonly root: string;
  readonly created: number; // seconds
  readonly maxTokens: number;
  readonly width: number; // numbers in a vector
  readonly vocab: number;
  /** Lengths that its vectors were trained to be cut to; empty: none is named. */
  readonly dimensions: readonly number[];
  /** Ids must be below `vocab`. Rejects with ApiError, or with the reason why the client is gone. */
  encode(inputs: readonly EncoderInput[], options?: EncodeOptions): Promise<Encoded>;
}

interface Waiting {
  readonly inputs: number;
  resolve(encoded: Encoded): void;
  reject(error: Error): void;
  /** Listens no more to whether its client is gone. */
  settled(): void;
}

/** Inputs that may wait; more are refused. */
const MAX_WAITING = 8192;

/** An encoder on a thread of its own, which alone loads ONNX Runtime. */
export class EncoderThread implements SentenceEncoder {
  readonly name: string;
  readonly root: string;
  readonly maxTokens: number;
  readonly dimensions: readonly number[];
  readonly routerThreshold: number | null;
  readonly created = Math.floor(Date.now() / 1000);
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #orders = 0;
  #inputs = 0;
  #width = 0;
  #vocab = 0;
  #fault: Error | null = null;

  private constructor(files: EncoderFiles, worker: Worker) {
    this.name = files.name;
    this.root = files.model;
    this.maxTokens = files.maxTokens;
    this.dimensions = files.dimensions;
    this.routerThreshold = files.routerThreshold;
    this.#worker = worker;
  }

  /** Throws ModelError when there is no encoder at `path`. `onFault` hears when its thread ends by itself later. */
  static async start(
    path: string,
    threads: number,
    onFault: (error: Error) => void = () => {},
  ): Promise<EncoderThread> {
    const files = findEncoder(path);
    const workerData: EncoderSettings = { files, threads };
    const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData });
    const encoder = new EncoderThread(files, worker);
    await new Promise<void>((resolve, reject) => {
      worker.on("message", (answer: EncoderAnswer) => {
        entered("encoder");
        if (answer.kind === "ready") {
          encoder.#width = answer.width;
          encoder.#vocab = answer.vocab;
          worker.on("error", onFault);
          resolve();
        } else {
          encoder.#onAnswer(answer);
        }
      });
      worker.on("error", (error) => {
        reject(new ModelError(error.message));
        encoder.#onFault(error);
      });
    });
    return encoder;
  }

  encode(
    inputs: readonly EncoderInput[],
    { cut = false, gone }: EncodeOptions = {},
  ): Promise<Encoded> {
    return new Promise((resolve, reject) => {
      gone?.throwIfAborted();
      if (this.#fault !== null) {
        const message = "The encoder has stopped; restart the server.";
        throw new ApiError("engine_stopped", { message, cause: this.#fault });
      }
      if (this.#inputs + inputs.length > MAX_WAITING) throw new ApiError("overloaded");
      const id = this.#orders++;
      this.#inputs += inputs.length;
      const onGone = () => {
        this.#take(id)?.reject(gone?.reason);
        this.#tell({ kind: "forget", id });
      };
      gone?.addEventListener("abort", onGone, { once: true });
      const settled = () => gone?.removeEventListener("abort", onGone);
      this.#waiting.set(id, { inputs: inputs.length, resolve, reject, settled });
      this.#tell({ kind: "encode", id, inputs, cut });
    });
  }

  #tell(message: EncodeOrder | Forget): void {
    this.#worker.postMessage(message);
  }

  /** Whoever waits for this order; nobody where the order was forgotten or refused meanwhile. */
  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return undefined;
    waiting.settled();
    this.#waiting.delete(id);
    this.#inputs -= waiting.inputs;
    return waiting;
  }

  get width(): number {
    return this.#width;
  }

  get vocab(): number {
    return this.#vocab;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #onAnswer(answer: Exclude<EncoderAnswer, { kind: "ready" }>): void {
    const waiting = this.#take(answer.id);
    if (waiting === undefined) return;
    if (answer.kind === "failed") {
      const { code, message } = answer;
      waiting.reject(new ApiError(code, { message, param: "input" }));
      return;
    }
    const width = this.#width;
    const vectors = Array.from({ length: waiting.inputs }, (_, i) =>
      answer.vectors.subarray(i * width, (i + 1) * width),
    );
    waiting.resolve({ vectors, tokens: answer.tokens });
  }

  #onFault(error: Error): void {
    entered("encoder");
    this.#fault = error;
    for (const id of [...this.#waiting.keys()]) {
      this.#take(id)?.reject(new ApiError("engine_failed", { cause: error }));
    }
  }
}
