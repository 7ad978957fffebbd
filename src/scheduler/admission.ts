import { ApiError } from "../errors.js";
import type { Reservation } from "./request.js";

/** What may wait for the engine. */
export interface QueueLimits {
  readonly requests: number;
  /** Of their prompts together. The request that reaches it is still taken: it need not be short. */
  readonly tokens: number;
}

/** What waits now, in the scheduler. */
export interface QueueState {
  readonly requests: number;
  readonly tokens: number;
  /** Requests that the next plan lets in. */
  readonly free: number;
}

/**
 * Who may join the queue. Asked before a prompt is tokenized, so that what is refused costs nothing;
 * what was let in counts until it waits in the scheduler or has failed on the way there.
 */
export class Admission {
  readonly #limits: QueueLimits;
  readonly #state: () => QueueState;
  #requests = 0;
  #tokens = 0;

  constructor(limits: QueueLimits, state: () => QueueState) {
    this.#limits = limits;
    this.#state = state;
  }

  /** Room for `requests` of about `tokens` tokens together. Throws ApiError("overloaded"). */
  reserve(requests: number, tokens: number): Reservation {
    const state = this.#state();
    const ahead = state.requests + this.#requests - state.free;
    const tokensAhead = state.tokens + this.#tokens;
    if (ahead + requests > this.#limits.requests) throw new ApiError("overloaded");
    if (ahead > 0 && tokensAhead >= this.#limits.tokens) {
      const message = `Prompts of ${tokensAhead} tokens are waiting; try again later.`;
      throw new ApiError("overloaded", { message });
    }
    this.#requests += requests;
    this.#tokens += tokens;
    let held = true;
    return {
      release: () => {
        if (!held) return;
        held = false;
        this.#requests -= requests;
        this.#tokens -= tokens;
      },
    };
  }
}
