import { ApiError, isErrorCode } from "../errors.js";
import { mixOf } from "../scheduler/mix.js";
import {
  type GenerateRequest,
  type Generation,
  type GenerationEvent,
  type Generator,
  GREEDY,
} from "../scheduler/request.js";

/** Prompts of one request in the scheduler at a time: a long list must not fill the queue. */
const AT_ONCE = 16;

/** The mean of each prompt's final hidden states, scaled to length 1. Rejects when `gone` is aborted, with its reason. */
export function poolPrompts(
  prompts: readonly (readonly number[])[],
  adapter: number,
  generator: Generator,
  gone: AbortSignal,
): Promise<Float32Array[]> {
  const vectors: Float32Array[] = new Array(prompts.length);
  const running = new Map<number, Generation>();
  let next = 0;
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      gone.removeEventListener("abort", onGone);
      next = prompts.length;
      for (const generation of running.values()) generation.cancel();
      running.clear();
      reject(error);
    };
    const onGone = () => fail(gone.reason);
    const onEvent = (index: number, event: GenerationEvent) => {
      if (event.kind === "embedding") vectors[index] = normalized(event.vector);
      if (event.kind === "error") {
        const code = isErrorCode(event.code) ? event.code : "engine_failed";
        fail(new ApiError(code, { message: event.message }));
      }
      if (event.kind !== "finish") return;
      running.delete(index);
      submit();
    };
    const submit = () => {
      try {
        while (next < prompts.length && running.size < AT_ONCE) {
          const index = next++;
          const request = pooledRequest(prompts[index]!, adapter, (event) => onEvent(index, event));
          running.set(index, generator.submit(request));
        }
      } catch (error) {
        fail(error);
        return;
      }
      if (running.size > 0) return;
      gone.removeEventListener("abort", onGone);
      resolve(vectors);
    };
    if (gone.aborted) {
      onGone();
      return;
    }
    gone.addEventListener("abort", onGone);
    submit();
  });
}

function pooledRequest(
  prompt: readonly number[],
  adapter: number,
  onEvent: (event: GenerationEvent) => void,
): GenerateRequest {
  return {
    prompt,
    mix: mixOf(adapter),
    priority: 0,
    sampling: GREEDY,
    maxTokens: 0,
    stopTokens: new Set(),
    ignoreEos: true,
    logprobs: null,
    promptLogprobs: null,
    mask: null,
    routes: null,
    pooled: true,
    onEvent,
  };
}

export function normalized(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? vector : vector.map((value) => value / length);
}
