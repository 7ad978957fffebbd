import { assigner } from "./assignment.js";
import { makeSamples, type Sample } from "./dataset.js";
import type { ClientOptions } from "./options.js";
import { seededRandom } from "./random.js";
import type { Sendable } from "./stream.js";

/** The whole bodies, made before the clock starts. `model` serves what --lora-modules does not name. */
export function makeRequests(
  count: number,
  options: ClientOptions,
  extraBody: object,
  model: string,
  seed = options.seed,
): Sendable[] {
  const random = seededRandom(seed);
  const models = options.loraModules.length > 0 ? options.loraModules : [model];
  const next = assigner(models, options.loraAssignment, options.zipfExponent, random);
  return makeSamples(count, options, random).map((sample) => {
    const chosen = next();
    const body = { model: chosen, ...question(sample, options), ...common(options), ...extraBody };
    return { model: chosen, body: JSON.stringify(body) };
  });
}

function question({ prompt, outputLength }: Sample, { backend }: ClientOptions): object {
  return backend === "openai-chat"
    ? { messages: [{ role: "user", content: prompt }], max_completion_tokens: outputLength }
    : { prompt, max_tokens: outputLength };
}

function common({ temperature, ignoreEos }: ClientOptions): object {
  const stream = { stream: true, stream_options: { include_usage: true } };
  return ignoreEos ? { temperature, ignore_eos: true, ...stream } : { temperature, ...stream };
}

export function requestUrl({ baseUrl, backend, endpoint }: ClientOptions): URL {
  const chat = backend === "openai-chat";
  const path = endpoint ?? (chat ? "/v1/chat/completions" : "/v1/completions");
  return new URL(path, baseUrl);
}
