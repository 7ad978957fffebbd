import { AUTO_MODEL } from "../config.js";
import { ApiError } from "../errors.js";
import type { ChatMessage } from "../text/text.js";
import type { AdapterRouter, ApiContext, RouterChoice, ServedModel } from "./context.js";
import type { Job } from "./job.js";
import { type MixOrder, parseMixing, parseMixOrder, resolveMixing } from "./mixing.js";
import { findModel, routerFailed, servedRouter } from "./models.js";
import { parseModel } from "./parameters.js";
import type { Fields } from "./schema.js";

/** `model: "auto"`: the server chooses an adapter, or the base, by what a conversation says. */

/** What answers. */
export type Target = Pick<Job, "model" | "mixing" | "auto">;

/** Tells what answers a conversation. */
export type Aim = (messages: readonly ChatMessage[]) => Target | Promise<Target>;

/** The fields that say which model answers, and how its adapters are mixed. Throws ApiError. */
export function parseAim(fields: Fields, context: ApiContext): Aim {
  const router = fields.raw("model") === AUTO_MODEL ? servedRouter(context) : null;
  if (router === null) {
    const model = parseModel(fields, context);
    const target = { model, mixing: parseMixing(fields, model, context), auto: null };
    return () => target;
  }
  const order = parseMixOrder(fields, context);
  refuseMixing(order, fields);
  return (messages) => chosen(router, order, messages, context);
}

/** Those fields are about adapters that the caller must know. */
function refuseMixing(order: MixOrder, fields: Fields): void {
  const param = order.adapters !== null ? "adapters" : "router";
  if (order.adapters === null && fields.raw("router") === undefined) return;
  const message = `${param} goes with the name of a model: with "${AUTO_MODEL}" the server chooses.`;
  throw new ApiError("invalid_parameter", { message, param });
}

async function chosen(
  router: AdapterRouter,
  order: MixOrder,
  messages: readonly ChatMessage[],
  context: ApiContext,
): Promise<Target> {
  const auto = await router.choose(tellings(messages), context.models).catch((error: unknown) => {
    throw router.broken ? routerFailed(error) : error;
  });
  const model = chosenModel(auto, context);
  return { model, mixing: resolveMixing(order, model, context), auto };
}

/** The base where an adapter has gone since it was chosen; a fallback that was named must be there. */
export function chosenModel({ name, nearest }: RouterChoice, context: ApiContext): ServedModel {
  const { models } = context;
  return models.find(name) ?? (name === nearest ? models.base : findModel(name, context));
}

/**
 * What a conversation is about, told in one or two ways: its last user's message, and that with the system's before it. A
 * system message may say what the task is, or nothing ("You are a helpful assistant").
 */
export function tellings(messages: readonly ChatMessage[]): string[] {
  const asked = messages.findLast(({ role }) => role === "user")?.content ?? "";
  if (asked.trim() === "") return [];
  const system = messages.find(({ role }) => role === "system" || role === "developer");
  const told = system?.content.trim() ?? "";
  return told === "" ? [asked] : [asked, `${told}\n${asked}`];
}

/** What an answer adds where the server chose. */
export function autoFields({ auto }: Pick<Job, "auto">) {
  return auto === null ? {} : { auto: { nearest: auto.nearest, score: rounded(auto.score) } };
}

function rounded(score: number): number {
  return Math.round(score * 1e4) / 1e4;
}
