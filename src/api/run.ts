import { ApiError, isErrorCode, toApiError } from "../errors.js";
import type { Session } from "../grammar/host.js";
import type { Generation, GenerationEvent } from "../scheduler/request.js";
import { Choice, type Delta } from "./choice.js";
import type { ApiContext } from "./context.js";
import type { Encoder, Usage, WholeChoice } from "./encode.js";
import { generateRequest, type Job } from "./job.js";

interface RunListener {
  delta(choice: Choice, delta: Delta): void;
  finish(choice: Choice, last: Delta): void;
  done(usage: Usage): void;
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
    for (const generation of this.#generations) generation.cancel();
  }

  /** Fails when it is not done by then. */
  expireIn(ms: number): void {
    if (this.#ended) return;
    this.#deadline = setTimeout(() => {
      this.cancel();
      this.#listener.fail(new ApiError("deadline_exceeded"));
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
      if (event.kind === "error") throw eventError(event, this.#job.model.name);
      const choice = this.#choices[index]!;
      const stopped = choice.onEvent(event);
      if (stopped) this.#generations[index]!.cancel("stop");
      if (choice.finishReason === null) return;
      this.#followed[index]?.close();
      if (--this.#running > 0) return;
      this.#end();
      this.#listener.done(this.#usage());
    } catch (error) {
      this.cancel();
      this.#listener.fail(toApiError(error));
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

/** What the client may know of it; `model` is what it asked for. */
function eventError({ code, message }: ErrorEvent, model: string): ApiError {
  if (code === "adapter_failed") {
    return new ApiError(code, { message: `The adapter "${model}" could not be used.` });
  }
  if (code === "not_finite") {
    const message = `The model "${model}" computed a value that is not finite (NaN or infinity).`;
    return new ApiError(code, { message });
  }
  return new ApiError(isErrorCode(code) ? code : "engine_failed", { message });
}

/** Where chunks go: server-sent events or a WebSocket. */
export interface ChunkSink {
  chunk(chunk: string): void;
  done(): void;
  /** `chunk` says it in the language of a stream that has begun. */
  fail(error: ApiError, chunk: string): void;
}

/** Sends every token as a chunk of its own. Throws ApiError before anything was sent. */
export function streamJob(job: Job, context: ApiContext, encoder: Encoder, sink: ChunkSink): Run {
  const started = new Set<number>();
  const send = (chunk: string | null) => {
    if (chunk !== null && chunk !== "") sink.chunk(chunk);
  };
  const start = (choice: Choice) => {
    if (started.has(choice.index)) return;
    started.add(choice.index);
    send(encoder.start(choice));
  };
  return new Run(job, context, {
    delta(choice, delta) {
      start(choice);
      send(encoder.delta(choice, delta));
    },
    finish(choice, last) {
      start(choice);
      send(encoder.finish(choice, last));
    },
    done(usage) {
      if (job.includeUsage) send(encoder.usage(usage));
      sink.done();
    },
    fail: (error) => sink.fail(error, encoder.failure(error)),
  });
}

/** Where one whole answer goes. */
export interface BodySink {
  body(json: string): void;
  fail(error: ApiError): void;
}

/** Answers once with everything. Throws ApiError before anything was sent. */
export function collectJob(job: Job, context: ApiContext, encoder: Encoder, sink: BodySink): Run {
  const collected = new Map<Choice, Delta[]>();
  const add = (choice: Choice, delta: Delta) => {
    const deltas = collected.get(choice);
    if (deltas === undefined) collected.set(choice, [delta]);
    else deltas.push(delta);
  };
  return new Run(job, context, {
    delta: add,
    finish: add,
    async done(usage) {
      const answered = likeliest([...collected.keys()], job);
      const choices = answered.map((choice, index) => whole(choice, index, collected.get(choice)!));
      try {
        sink.body(await encoder.whole(choices, usage));
      } catch (error) {
        sink.fail(toApiError(error));
      }
    },
    fail: (error) => sink.fail(error),
  });
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

function whole(choice: Choice, index: number, deltas: readonly Delta[]): WholeChoice {
  return {
    choice,
    index,
    text: deltas.map(({ text }) => text).join(""),
    calls: deltas.flatMap(({ calls }) => calls),
    tokens: deltas.flatMap(({ tokens }) => tokens),
    pieces: deltas.flatMap(({ pieces }) => pieces),
  };
}
