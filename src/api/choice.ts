import type { Routes } from "../scheduler/mix.js";
import type { FinishReason, GenerationEvent, TokenLogprob } from "../scheduler/request.js";
import { StopMatcher } from "../text/stop.js";
import type { IncrementalDecoder } from "../text/text.js";
import type { ApiContext } from "./context.js";
import { characters, type Echo, echoDeltas } from "./echo.js";
import type { Job, Prompt } from "./job.js";
import { RouteEntries } from "./routing.js";
import { type CallDelta, type ReadPiece, ToolCallReader } from "./tool-calls.js";

/** A token as logprobs show it. */
export interface TokenPiece {
  readonly id: number;
  readonly offset: number; // characters of text before it
  readonly logprob: TokenLogprob | null; // null for the first token of an echoed prompt
}

/** What one event adds to a choice. */
export interface Delta {
  readonly text: string;
  readonly calls: readonly CallDelta[];
  readonly tokens: readonly number[]; // generated, the one that ended it included
  readonly pieces: readonly TokenPiece[]; // for logprobs; an echoed prompt's come first
  readonly routes: readonly string[]; // JSON of the routing of `tokens`, where it was asked for
}

export interface ChoiceListener {
  /** Before the first of the others. */
  start(choice: Choice): void;
  delta(choice: Choice, delta: Delta): void;
  /** `last` holds the token that ended it; its text is empty. */
  finish(choice: Choice, last: Delta): void;
}

const NONE: readonly never[] = [];

export type ChoiceFinish = FinishReason | "tool_calls";

/** One running answer: tokens become text, stop strings end it. */
export class Choice {
  readonly index: number;
  readonly prompt: Prompt;
  completionTokens = 0;
  /** Null while it runs. */
  finishReason: ChoiceFinish | null = null;
  /** The stop string that ended it. */
  stopString: string | null = null;

  readonly #decoder: IncrementalDecoder;
  readonly #stop: StopMatcher;
  readonly #listener: ChoiceListener;
  readonly #reader: ToolCallReader | null;
  readonly #withPieces: boolean;
  readonly #routes: RouteEntries | null;
  #logprobSum = 0;
  #scored = 0; // tokens in it
  #offset = 0;
  #started = false;
  /** Sent together with the first token. */
  #echo: Echo | null;
  #echoLogprobs: readonly TokenLogprob[] = [];

  constructor(job: Job, index: number, context: ApiContext, listener: ChoiceListener) {
    this.index = index;
    this.prompt = job.prompts[Math.floor(index / job.candidates)]!;
    this.#decoder = context.decoder();
    this.#stop = new StopMatcher(job.stop);
    this.#listener = listener;
    this.#reader = job.toolFormat === null ? null : new ToolCallReader(job.toolFormat);
    this.#withPieces = job.logprobs !== null;
    this.#routes = job.mixing.routes === null ? null : new RouteEntries(job.mixing);
    this.#echo = this.prompt.echo;
    this.#offset = this.#echo?.offsets.at(-1) ?? 0;
  }

  /** Of its text's tokens, where their log-probabilities are known; one without tokens is the least likely. */
  get meanLogprob(): number {
    return this.#scored === 0 ? -Infinity : this.#logprobSum / this.#scored;
  }

  /** True when a stop string ended it: the generation is of no more use. */
  onEvent(event: Exclude<GenerationEvent, { kind: "error" }>): boolean {
    switch (event.kind) {
      case "prompt":
        this.#echoLogprobs = event.logprobs;
        return false;
      case "embedding":
        return false; // only /v1/embeddings asks for it
      case "token":
        return this.#onToken(event.token, event.logprob, event.routes);
      case "finish":
        this.completionTokens = event.completionTokens;
        this.#end(event.reason, event.stopToken, event.routes);
        return false;
    }
  }

  #onToken(token: number, logprob: TokenLogprob | null, taken: Routes | null): boolean {
    this.completionTokens++;
    if (logprob !== null) this.#score(logprob.logprob);
    const offset = this.#offset;
    const decoded = this.#decode(this.#decoder.push(token));
    const { text: shown, stop } = this.#stop.push(decoded);
    const pieces = this.#withPieces ? [{ id: token, offset, logprob }] : NONE;
    const routes = this.#entries(token, taken);
    const { text, calls } = this.#read(shown);
    this.#deliver({ text, calls, tokens: [token], pieces, routes });
    this.stopString = stop;
    if (stop !== null) this.#finish("stop", [], []);
    return stop !== null;
  }

  #score(logprob: number): void {
    this.#logprobSum += logprob;
    this.#scored++;
  }

  #entries(token: number, taken: Routes | null): readonly string[] {
    return this.#routes === null || taken === null ? NONE : [this.#routes.entry(token, taken)];
  }

  #end(reason: FinishReason, stopToken: number | null, taken: Routes | null): void {
    const { text, stop } = this.#stop.push(this.#decode(this.#decoder.flush()));
    const rest = this.#read(text + this.#stop.flush());
    this.stopString = stop;
    if (rest.text !== "" || rest.calls.length > 0 || this.#echo !== null) {
      this.#deliver({ ...rest, tokens: [], pieces: [], routes: [] });
    }
    const tokens = stopToken === null ? [] : [stopToken];
    const routes = tokens.flatMap((token) => this.#entries(token, taken));
    this.#finish(stop === null ? reason : "stop", tokens, routes);
  }

  #finish(reason: FinishReason, tokens: readonly number[], routes: readonly string[]): void {
    this.#start();
    const called = reason === "stop" && this.#reader !== null && this.#reader.calls > 0;
    this.finishReason = called ? "tool_calls" : reason;
    this.#listener.finish(this, { text: "", calls: [], tokens, pieces: [], routes });
  }

  #start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#listener.start(this);
  }

  #deliver(delta: Delta): void {
    this.#start();
    const echo = this.#echo;
    this.#echo = null;
    if (echo === null) this.#listener.delta(this, delta);
    else if (!this.#withPieces)
      this.#listener.delta(this, { ...delta, text: echo.text + delta.text });
    else
      for (const part of echoDeltas(echo, this.#echoLogprobs, delta))
        this.#listener.delta(this, part);
  }

  #read(text: string): ReadPiece {
    return this.#reader === null ? { text, calls: NONE } : this.#reader.push(text);
  }

  #decode(text: string): string {
    if (this.#withPieces) this.#offset += characters(text);
    return text;
  }
}
