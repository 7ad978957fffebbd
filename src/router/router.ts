import { tellings } from "../api/auto.js";
import type { AdapterRouter, ModelRegistry, RouterChoice, ServedAdapter } from "../api/context.js";
import type { SentenceEncoder } from "../encoders/encoder.js";
import type { AdapterFollower } from "../models/adapters.js";
import { spread } from "../turns.js";
import { NearestIndex } from "./nearest.js";

/** An encoder that this router has started and ends. */
export interface RouterEncoder extends SentenceEncoder {
  /** What a score must reach, where the encoder says so itself. */
  readonly routerThreshold: number | null;
  close(): Promise<void>;
}

export interface RouterOptions {
  /** Loads the encoder. Called once, when there is an adapter to choose. `onFault` is to hear when it stops by itself. */
  readonly start: (onFault: (error: Error) => void) => Promise<RouterEncoder>;
  /** What a score must reach; null = what the encoder says itself. */
  readonly threshold: number | null;
  /** Of the model that answers what no adapter is near to; null = the base's. */
  readonly fallback: string | null;
  /** Hears of every choice. */
  readonly onChoice: (found: "adapter" | "fallback", seconds: number) => void;
  /** Hears, once, why nothing can be chosen. */
  readonly onFault: (error: Error) => void;
}

/** For encoders that say nothing of it. */
const USUAL_THRESHOLD = 0.6;

/** Of a message; an encoder reads some hundred tokens. */
const MOST_CHARACTERS = 4000;

/**
 * Finds the adapter for a request: the one with the example, on its card, that is nearest to what the request says.
 * Examples become vectors when their adapter begins to be served.
 */
export class Router implements AdapterRouter, AdapterFollower {
  readonly #options: RouterOptions;
  readonly #index = new NearestIndex();
  /** Handles that can be chosen, or can be when their examples are vectors. */
  readonly #offered = new Set<number>();
  /** One adapter after the other: the encoder takes so many texts at a time. */
  #turn: Promise<unknown> = Promise.resolve();
  #encoder: Promise<RouterEncoder> | null = null;
  #broken = false;
  root = "";

  constructor(options: RouterOptions) {
    this.#options = options;
  }

  get ready(): boolean {
    return this.#offered.size > 0 && !this.#broken;
  }

  get broken(): boolean {
    return this.#broken;
  }

  /** Loads the encoder now. Rejects with ModelError. */
  start(): Promise<RouterEncoder> {
    const onFault = (error: Error) => {
      this.#broken = true;
      this.#options.onFault(error);
    };
    this.#encoder ??= this.#options.start(onFault).then(
      (encoder) => {
        this.root = encoder.root;
        return encoder;
      },
      (error: Error) => {
        onFault(error);
        throw error;
      },
    );
    return this.#encoder;
  }

  served({ name, adapter, card }: ServedAdapter): void {
    if (!card.auto || card.examples.length === 0 || this.#broken) return;
    this.#offered.add(adapter);
    const texts = card.examples.flatMap((messages) => tellings(messages).slice(-1));
    this.#turn = this.#turn.then(async () => {
      try {
        this.#index.set(adapter, name, await this.#encode(texts));
      } catch (error) {
        this.#offered.delete(adapter);
        if (!this.#broken) this.#options.onFault(error as Error);
      }
    });
  }

  /** One that is replaced stays to be found until the examples of its successor are. */
  retired({ adapter }: ServedAdapter): void {
    this.#offered.delete(adapter);
    this.#turn = this.#turn.then(() => this.#index.delete(adapter));
  }

  async choose(
    texts: readonly string[],
    models: ModelRegistry,
    gone?: AbortSignal,
  ): Promise<RouterChoice> {
    const began = performance.now();
    await this.#turn;
    const { threshold, fallback } = this.#options;
    const near =
      texts.length === 0
        ? null
        : await spread(this.#index.nearest(await this.#encode(texts, gone)));
    const { routerThreshold } = await this.start();
    const least = threshold ?? routerThreshold ?? USUAL_THRESHOLD;
    const score = near?.score ?? 0;
    const found = near !== null && score >= least;
    this.#options.onChoice(found ? "adapter" : "fallback", (performance.now() - began) / 1000);
    const name = found ? near.name : (fallback ?? models.base.name);
    return { name, nearest: near?.name ?? null, score };
  }

  async close(): Promise<void> {
    const encoder = await this.#encoder?.catch(() => null);
    await encoder?.close();
  }

  async #encode(texts: readonly string[], gone?: AbortSignal): Promise<readonly Float32Array[]> {
    const encoder = await this.start();
    const shortened = texts.map((text) => text.slice(0, MOST_CHARACTERS));
    return (await encoder.encode(shortened, { cut: true, gone })).vectors;
  }
}
