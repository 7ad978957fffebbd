import { setTimeout } from "node:timers/promises";
import { AUTO_MODEL } from "../config.js";
import type { SentenceEncoder } from "../encoders/encoder.js";
import { ApiError } from "../errors.js";
import { entered } from "../hold.js";
import { lazyList } from "../json/write.js";
import type { AdapterCard } from "../models/card.js";
import { nearest } from "../nearest.js";
import type { AdapterLoad, AdapterRouter, ApiContext, ServedModel } from "./context.js";

/** GET /v1/models and GET /v1/models/{id} */

const MAX_SHOWN = 100;

function modelObject(model: ServedModel, context: ApiContext) {
  return {
    id: model.name,
    object: "model",
    created: model.created,
    owned_by: "smore",
    root: model.root,
    parent: model.parent,
    max_model_len: context.maxModelLen,
    ...cardFields(model.card),
  };
}

/** What an adapter's card says of it, in short. */
function cardFields(card: AdapterCard | null) {
  const { task = null, license = null } = card ?? {};
  return { ...(task === null ? {} : { task }), ...(license === null ? {} : { license }) };
}

/** What chooses among them. */
function autoObject({ router, models, maxModelLen }: ApiContext) {
  return {
    id: AUTO_MODEL,
    object: "model",
    created: models.base.created,
    owned_by: "smore",
    root: router?.root ?? null,
    parent: null,
    max_model_len: maxModelLen,
  };
}

function encoderObject({ name, created, root, maxTokens }: SentenceEncoder) {
  return {
    id: name,
    object: "model",
    created,
    owned_by: "smore",
    root,
    parent: null,
    max_model_len: maxTokens,
  };
}

/** Null where there is nothing to choose from: "auto" is no model then. Throws ApiError where nothing can be chosen any more. */
export function servedRouter({ router }: ApiContext): AdapterRouter | null {
  if (router?.broken === true) throw routerFailed();
  return router?.ready === true ? router : null;
}

export function routerFailed(cause?: unknown): ApiError {
  const message = `The encoder that chooses among adapters for the model "${AUTO_MODEL}" has failed; name an adapter, or restart the server.`;
  return new ApiError("engine_stopped", { message, param: "model", cause });
}

export function listModels(context: ApiContext) {
  const { models, encoder, router } = context;
  const shown = [
    ...models.list().map((model) => () => modelObject(model, context)),
    ...(encoder === null ? [] : [() => encoderObject(encoder)]),
    ...(router?.ready === true ? [() => autoObject(context)] : []),
  ];
  return {
    object: "list",
    data: lazyList(shown, (show) => show()),
  };
}

export function oneModel(name: string, context: ApiContext) {
  const { encoder } = context;
  if (name === encoder?.name) return encoderObject(encoder);
  if (name === AUTO_MODEL && servedRouter(context) !== null) return autoObject(context);
  return modelObject(findModel(name, context), context);
}

/** Waits, within bounds, for an adapter that is being loaded. Throws ApiError when it takes longer. */
export async function loadingEnded(
  load: AdapterLoad,
  waitMs: number,
  param = "model",
): Promise<void> {
  const late = Symbol();
  const timer = new AbortController();
  const waited = setTimeout(waitMs, late, { signal: timer.signal }).catch(() => late);
  const first = await Promise.race([load.ended, waited]);
  entered("request");
  timer.abort();
  if (first !== late) return;
  const percent = Math.floor(load.progress * 100);
  const message = `The adapter \`${load.name}\` is still being loaded (${percent}%); try again later.`;
  throw new ApiError("adapter_loading", { message, param });
}

/** The model of that name, which `param` gave. Throws ApiError when there is none. */
export function findModel(name: string, context: ApiContext, param = "model"): ServedModel {
  const model = context.models.find(name);
  if (model !== undefined) return model;
  const shown = name.length > MAX_SHOWN ? `${name.slice(0, MAX_SHOWN)}...` : name;
  const unknown = `The model \`${shown.replace(/\p{Cc}/gu, "\u{fffd}")}\` does not exist.`;
  const message = `${unknown}${meant(name, context)} GET /v1/models lists those that do.`;
  throw new ApiError("model_not_found", { message, param });
}

/** A question with the served name that is nearest, as far as names are few and short enough to compare them all. */
function meant(name: string, { models, encoder }: ApiContext): string {
  const names = models.list().map((model) => model.name);
  if (encoder !== null) names.push(encoder.name);
  if (names.length > MOST_COMPARED || name.length > LONGEST_COMPARED) return "";
  const near = nearest(
    name,
    names.filter(({ length }) => length <= 2 * LONGEST_COMPARED),
  );
  return near === null ? "" : ` Did you mean \`${near}\`?`;
}

const MOST_COMPARED = 100;
const LONGEST_COMPARED = 40;
