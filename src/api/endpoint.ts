import type { Reservation } from "../scheduler/request.js";
import { chosenModel } from "./auto.js";
import type { ApiContext } from "./context.js";
import type { Encoder, Envelope } from "./encode.js";
import type { Admit, Job } from "./job.js";
import { TokenNames } from "./logprobs.js";
import { mixedNames, refuseLongRouting, resolveMixing } from "./mixing.js";
import { findModel, loadingEnded } from "./models.js";
import type { ChunkSink } from "./outbox.js";
import { type BodySink, collectJob, type Run, streamJob } from "./run.js";
import { Fields, type JsonObject } from "./schema.js";

/** An endpoint that generates: how its body is read and how its answers look. */
export interface Endpoint<J extends Job = Job> {
  readonly idPrefix: string;
  /** What traces call it. */
  readonly operation: "chat" | "text_completion";
  /** Chunks are the data of events that [DONE] ends, or whole events with names. */
  readonly framing: "data" | "named";
  /** Throws ApiError. `alwaysStreams`: the transport streams whatever the body says. */
  parse(fields: Fields, context: ApiContext, alwaysStreams: boolean, admit: Admit): Promise<J>;
  encoder(job: J, envelope: Envelope, names: TokenNames): Encoder;
}

/** Who waits for the answer, over HTTP or a WebSocket. */
export interface Client {
  /** It left or cancelled: nothing needs to be computed. */
  readonly gone: boolean;
  chunks(): ChunkSink;
  /** Null where every answer is streamed, whatever the body says. */
  readonly whole: (() => BodySink) | null;
  /** How long it will wait for the whole answer; null = as long as it takes. */
  readonly timeoutMs: number | null;
  /** Fields that it sent and that nothing reads. */
  unknownFields(names: readonly string[]): void;
}

/** Parse, submit, encode. Throws ApiError before anything was sent; null when the client left meanwhile. */
export async function generate(
  endpoint: Endpoint,
  body: JsonObject,
  id: string | number,
  context: ApiContext,
  client: Client,
): Promise<Run | null> {
  const { timeoutMs } = client;
  const began = performance.now();
  const fields = new Fields(body);
  await adaptersLoaded(body, context, Math.min(context.adapterWaitMs, timeoutMs ?? Infinity));
  const rooms: Reservation[] = [];
  const admit: Admit = (...needs) => rooms.push(context.generator.reserve(...needs));
  try {
    const job = await endpoint.parse(fields, context, client.whole === null, admit);
    client.unknownFields(fields.unread());
    if (client.gone) return null;
    const run = start(endpoint, job, id, context, client);
    if (timeoutMs !== null) run.expireIn(timeoutMs - (performance.now() - began));
    return run;
  } finally {
    for (const room of rooms) room.release();
  }
}

/** Waits, within bounds, for the adapters that a body names and that are being loaded. */
async function adaptersLoaded(body: JsonObject, context: ApiContext, waitMs: number) {
  const deadline = performance.now() + waitMs;
  const wait = async (name: string, param: string) => {
    const load = context.adapters.loading(name);
    if (load !== undefined) await loadingEnded(load, deadline - performance.now(), param);
  };
  if (typeof body.model === "string") await wait(body.model, "model");
  for (const name of mixedNames(body)) await wait(name, "adapters");
}

function start(
  endpoint: Endpoint,
  parsed: Job,
  id: string | number,
  context: ApiContext,
  client: Client,
): Run {
  // Its adapters may have been replaced or unloaded while the prompt was tokenized.
  const { auto, model: before } = parsed;
  const model = auto === null ? findModel(before.name, context) : chosenModel(auto, context);
  const job = { ...parsed, model, mixing: resolveMixing(parsed.mixing.order, model, context) };
  const envelope = { id, created: Math.floor(Date.now() / 1000) };
  const names = new TokenNames(context.tokenizer, job.tokensAsIds);
  const encoder = endpoint.encoder(job, envelope, names);
  if (job.stream || client.whole === null) {
    return streamJob(job, context, encoder, client.chunks());
  }
  refuseLongRouting(job);
  return collectJob(job, context, encoder, client.whole());
}
