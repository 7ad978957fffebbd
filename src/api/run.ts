import { ApiError, isErrorCode, toApiError } from "../errors.js";
import type { Session } from "../grammar/host.js";
import { entered } from "../hold.js";
import type { Generation, GenerationEvent } from "../scheduler/request.js";
import { Choice, type ChoiceListener, type Delta, type TokenPiece } from "./choice.js";
import type { ApiContext } from "./context.js";
import type { Encoder, Usage } from "./encode.js";
import { generateRequest, type Job } from "./job.js";
import { type ChunkSink, Outbox } from "./outbox.js";
import type { CallDelta } from "./tool-calls.js";

interface RunListener extends ChoiceListener {
  done(usage: Usage): void;
  /** Nothing follows but `fail`. */
  cancelled(): void;
  /** Everything has been cancelled; nothing follows. */
  fail(error: ApiError): void;
}

/** All choices of one job: started together, and cancelled together when one of them fails. */
export class Run {
  readonly #job: Job;
  readonly #listener: RunListener;
  readonly #choices: Choice[];
  readonly #generations: Generation[] = [];
  readonly #followed: Session[] = []; // grammars, one per choice
  #running: number;
  #ended = false;
  #deadline: NodeJS.Timeout | undefined;

  /** Throws ApiError when the scheduler does not take every choice; none is then left running. */
  constructor(job: Job, context: ApiContext, listener: RunListener) {
    this.#job = job;
    this.#listener = listener;
    const indices = Array.from(
      { length: job.prompts.length * job.candidates },
      (_, index) => index,
    );
    this.#choices = indices.map((index) => new Choice(job, index, context, listener));
    this.#running = indices.length;
    try {
      for (const index of indices) {
        const onEvent = (event: GenerationEvent) => this.#onEvent(index, event);
        const followed = job.grammar?.open();
        if (followed !== undefined) this.#followed.push(followed);
        const request = generateRequest(job, index, context, followed ?? null, onEvent);
        this.#generations.push(context.generator.submit(request));
      }
    } catch (error) {
      this.cancel();
      throw error;
    }
  }

  /** Frees the engine within a step; the listener hears nothing more. Idempotent. */
  cancel(): void {
    this.#end();
    this.#listener.cancelled();
    for (const generation of this.#generations) generation.cancel();
  }

  /** Ends it with an error. */
  fail(error: unknown): void {
    this.cancel();
    this.#listener.fail(toApiError(error));
  }

  /** Fails when it is not done by then. */
  expireIn(ms: number): void {
    if (this.#ended) return;
    this.#deadline = setTimeout(() => {
      entered("timer");
      this.fail(new ApiError("deadline_exceeded"));
    }, ms);
  }

  #end(): void {
    this.#ended = true;
    for (const followed of this.#followed) followed.close();
    clearTimeout(this.#deadline);
  }

  #onEvent(index: number, event: GenerationEvent): void {
    if (this.#ended) return;
    try {
      if (event.kind === "error") throw eventError(event, this.#job);
      const choice = this.#choices[index]!;
      const stopped = choice.onEvent(event);
      if (stopped) this.#generations[index]!.cancel("stop");
      if (choice.finishReason === null) return;
      this.#followed[index]?.close();
      if (--this.#running > 0) return;
      this.#end();
      this.#listener.done(this.#usage());
    } catch (error) {
      this.fail(error);
    }
  }

  #usage(): Usage {
    const { prompts, candidates } = this.#job;
    const sum = (numbers: readonly number[]) =>
      numbers.reduce((total, number) => total + number, 0);
    return {
      promptTokens: sum(prompts.map(({ ids }) => ids.length)),
      // The other choices of a prompt reuse what the first one computed: that is no saving to report.
      cachedTokens: sum(
        prompts.map((_, prompt) => this.#generations[prompt * candidates]!.cachedTokens),
      ),
      completionTokens: sum(this.#choices.map(({ completionTokens }) => completionTokens)),
    };
  }
}

type ErrorEvent = Extract<GenerationEvent, { kind: "error" }>;

/** What the client may know of it, in the names that it used. */
function eventError({ code, message }: ErrorEvent, { model, mixing }: Job): ApiError {
  if (code === "adapter_failed") {
    const names = mixing.adapters.map(({ name }) => `"${name}"`);
    const what = names.length === 1 ? `adapter ${names}` : `adapters ${names.join(" and ")}`;
    const message = `The ${what} could not be used${names.length === 1 ? "" : " together"}.`;
    return new ApiError(code, { message });
  }
  if (code === "not_finite") {
    const message = `The model "${model.name}" computed a value that is not finite (NaN or infinity).`;
    return new ApiError(code, { message });
  }
  return new ApiError(isErrorCode(code) ? code : "engine_failed", { message });
}

/** Sends every token as a chunk of its own. Throws ApiError before anything was sent. */
export function streamJob(job: Job, context: ApiContext, encoder: Encoder, sink: ChunkSink): Run {
  const outbox = new Outbox(sink, (error) => run.fail(error));
  const run = new Run(job, context, {
    start: (choice) => outbox.send(true, () => encoder.start(choice)),
    delta: (choice, delta) =>
      outbox.send(delta.pieces.length <= 1, () => encoder.delta(choice, delta)),
    finish: (choice, last) => outbox.send(true, () => encoder.finish(choice, last)),
    done(usage) {
      if (job.includeUsage) outbox.send(true, () => encoder.usage(usage));
      outbox.send(true, () => {
        sink.done();
        return null;
      });
    },
    cancelled: () => outbox.stop(),
    fail: (error) => sink.fail(error, encoder.failure(error)),
  });
  return run;
}

/** Where one whole answer goes. */
export interface BodySink {
  /** Plain, but for lazy lists. Rejects when it cannot be encoded. */
  body(answer: object): Promise<void>;
  fail(error: ApiError): void;
}

/** Answers once with everything. Throws ApiError before anything was sent. */
export function collectJob(job: Job, context: ApiContext, encoder: Encoder, sink: BodySink): Run {
  const collected = new Map<Choice, Collected>();
  const add = (choice: Choice, delta: Delta) => {
    const all = collected.get(choice)!;
    all.text += delta.text;
    all.calls.push(...delta.calls);
    all.tokens.push(...delta.tokens);
    all.pieces.push(...delta.pieces);
    all.routes.push(...delta.routes);
  };
  return new Run(job, context, {
    start: (choice) =>
      collected.set(choice, { text: "", calls: [], tokens: [], pieces: [], routes: [] }),
    delta: add,
    finish: add,
    async done(usage) {
      const answered = likeliest([...collected.keys()], job);
      const choices = answered.map((choice, index) => ({
        choice,
        index,
        ...collected.get(choice)!,
      }));
      try {
        await sink.body(encoder.whole(choices, usage));
      } catch (error) {
        sink.fail(toApiError(error));
      }
    },
    cancelled: () => collected.clear(),
    fail: (error) => sink.fail(error),
  });
}

/** The deltas of a choice, put together. */
interface Collected {
  text: string;
  readonly calls: CallDelta[];
  readonly tokens: number[];
  readonly pieces: TokenPiece[];
  readonly routes: string[];
}

/** The choices of the answer in their order: of each prompt's candidates the n whose tokens are likeliest in the mean. */
function likeliest(candidates: readonly Choice[], job: Job): Choice[] {
  const byIndex = candidates.toSorted((a, b) => a.index - b.index);
  return job.prompts.flatMap((_, prompt) => {
    const own = byIndex.slice(prompt * job.candidates, (prompt + 1) * job.candidates);
    if (job.candidates === job.n) return own;
    return own.sort((a, b) => b.meanLogprob - a.meanLogprob).slice(0, job.n);
  });
}
