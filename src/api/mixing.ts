import {
  MAX_ADAPTER_SCALE,
  MAX_ADAPTERS,
  MAX_ROUTER_TEMPERATURE,
  type NativeAdapterInfo,
} from "../engine/native.js";
import { ApiError } from "../errors.js";
import type { Ban, Mix, MixedAdapter, RouteWish } from "../scheduler/mix.js";
import type { ApiContext, ServedModel } from "./context.js";
import type { Job } from "./job.js";
import { findModel } from "./models.js";
import { type Fields, invalid, isJsonObject, type JsonObject, nested } from "./schema.js";

/** The fields `adapters`, `router` and `return_routing`: several adapters at once, and how they route. */

/** A served model that is an adapter. */
export type AdapterModel = ServedModel & { readonly info: NativeAdapterInfo };

/** What a client asked for. */
export interface MixOrder {
  /** Null where only `model` says it. */
  readonly adapters: readonly NamedScale[] | null;
  readonly router: RouterOrder;
  /** Layers whose routing is wanted, rising. */
  readonly layers: readonly number[] | null;
}

interface NamedScale {
  readonly name: string;
  readonly scale: number; // a float32
  readonly param: string;
}

interface RouterOrder {
  readonly temperature: number; // a float32
  readonly force: readonly LevelExperts[];
  readonly ban: readonly LevelExperts[];
}

interface LevelExperts {
  readonly adapter: string | null; // null = all that have routers
  readonly level: number;
  readonly experts: readonly number[];
  readonly param: string;
}

/** An order with the adapters that its names stand for now. */
export interface Mixing {
  readonly order: MixOrder;
  readonly mix: Mix;
  /** Of `mix`, in its order. */
  readonly adapters: readonly AdapterModel[];
  readonly routes: RouteWish | null;
}

/** Pairs of routing that an answer in one piece may hold. */
const MAX_WHOLE_PAIRS = 2 ** 22;

/** Names of adapters in a body that nobody has judged yet. */
export function mixedNames({ adapters }: JsonObject): string[] {
  if (!Array.isArray(adapters)) return [];
  const names = adapters
    .slice(0, MAX_ADAPTERS)
    .map((item: unknown) => isJsonObject(item) && item.name);
  return names.filter((name) => typeof name === "string");
}

export function parseMixing(fields: Fields, model: ServedModel, context: ApiContext): Mixing {
  return resolveMixing(parseMixOrder(fields, context), model, context);
}

export function parseMixOrder(fields: Fields, context: ApiContext): MixOrder {
  const adapters = parseAdapters(fields.raw("adapters"));
  const router = parseRouter(fields.object("router"));
  return { adapters, router, layers: parseLayers(fields.raw("return_routing"), context) };
}

function parseAdapters(value: unknown): NamedScale[] | null {
  if (value === undefined) return null;
  const wanted = `an array of at most ${MAX_ADAPTERS} adapters`;
  if (!Array.isArray(value)) throw invalid("adapters", wanted, value);
  if (value.length > MAX_ADAPTERS) throw invalid("adapters", wanted, value.length);
  const adapters = value.map((item: unknown, i): NamedScale => {
    const fields = nested(item, `adapters[${i}]`);
    const name = fields.string("name");
    const param = fields.param("name");
    if (name === undefined) throw invalid(param, "the name of an adapter", name);
    const range = { min: -MAX_ADAPTER_SCALE, max: MAX_ADAPTER_SCALE };
    const scale = Math.fround(fields.number("scale", range) ?? 1);
    fields.refuseUnread();
    return { name, scale, param };
  });
  const first = new Map<string, string>();
  for (const { name, param } of adapters) {
    const before = first.get(name);
    if (before !== undefined) throw invalid(param, `another one than ${before}`, name);
    first.set(name, param);
  }
  return adapters.length === 0 ? null : adapters;
}

function parseRouter(value: JsonObject | undefined): RouterOrder {
  const fields = nested(value ?? {}, "router");
  const range = { above: 0, max: MAX_ROUTER_TEMPERATURE };
  const asked = fields.number("temperature", range) ?? 1;
  const temperature = Math.fround(asked);
  if (temperature < MIN_NORMAL) {
    throw invalid("router.temperature", `at least ${MIN_NORMAL}`, asked);
  }
  const force = parseExperts(fields.raw("force"), "router.force");
  const ban = parseExperts(fields.raw("ban"), "router.ban");
  fields.refuseUnread();
  return { temperature, force, ban };
}

/** The least float32 that divisions are exact with. */
const MIN_NORMAL = 2 ** -126;

function parseExperts(value: unknown, param: string): LevelExperts[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw invalid(param, "an array of levels and their experts", value);
  return value.map((item: unknown, i): LevelExperts => {
    const at = `${param}[${i}]`;
    const fields = nested(item, at);
    const level = fields.integer("level", { min: 0 });
    if (level === undefined) throw invalid(`${at}.level`, "a level, 0 for the leaves", level);
    const experts = fields.raw("experts");
    const adapter = fields.string("adapter") ?? null;
    if (!Array.isArray(experts)) throw invalid(`${at}.experts`, "an array of experts", experts);
    if (new Set(experts).size < experts.length) {
      throw invalid(`${at}.experts`, "free of repetitions", experts);
    }
    fields.refuseUnread();
    return { adapter, level, experts, param: at };
  });
}

function parseLayers(value: unknown, { layers }: ApiContext): number[] | null {
  if (value === undefined || value === false) return null;
  if (value === true) return Array.from({ length: layers }, (_, layer) => layer);
  if (!isJsonObject(value)) {
    throw invalid("return_routing", `true, false or {"layers": [...]}`, value);
  }
  const fields = nested(value, "return_routing");
  const asked = fields.raw("layers");
  fields.refuseUnread();
  if (!Array.isArray(asked) || asked.length === 0) {
    throw invalid("return_routing.layers", "an array of at least one layer", asked);
  }
  for (const [i, layer] of asked.entries()) {
    if (Number.isSafeInteger(layer) && layer >= 0 && layer < layers) continue;
    throw invalid(`return_routing.layers[${i}]`, `a layer from 0 to ${layers - 1}`, layer);
  }
  return [...new Set<number>(asked)].sort((a, b) => a - b);
}

/**
 * Looks the names up, now: an adapter may have been replaced meanwhile. Deltas add up by name, since sums
 * of floats depend on their order and names outlast what is loaded under them. Throws ApiError.
 */
export function resolveMixing(order: MixOrder, model: ServedModel, context: ApiContext): Mixing {
  const used = (order.adapters ?? [ownAdapter(model)])
    .map((named) => ({ ...named, model: adapterNamed(named, model, order, context) }))
    .filter((it): it is NamedScale & { model: AdapterModel } => it.model !== null && it.scale !== 0)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const adapters = used.map((it) => it.model);
  refuseAimless(order.router, adapters);
  const mix = used.map(({ model: { adapter, info }, scale, name }): MixedAdapter => {
    const { temperature } = info.tree.length > 0 ? order.router : { temperature: 1 };
    return { handle: adapter, scale, temperature, bans: bansOf(order.router, name, info.tree) };
  });
  const pairs = adapters.reduce((sum, { info }) => sum + pairsOf(info, order.layers ?? []), 0);
  const routes = order.layers === null ? null : { layers: order.layers, pairs };
  return { order, mix, adapters, routes };
}

function ownAdapter({ name }: ServedModel): NamedScale {
  return { name, scale: 1, param: "model" };
}

/** Null: the base, which only `model` may name. */
function adapterNamed(
  { name, param }: NamedScale,
  model: ServedModel,
  order: MixOrder,
  context: ApiContext,
): AdapterModel | null {
  const found = findModel(name, context, param);
  if (order.adapters === null) return isAdapter(found) ? found : null;
  if (!isAdapter(found)) throw invalid(param, "the name of an adapter, not of the base", name);
  const alone = order.adapters.length === 1 && name === model.name;
  if (!isAdapter(model) || alone) return found;
  const message =
    `adapters goes with model "${context.models.base.name}", or names "${model.name}" alone: ` +
    `model is that adapter.`;
  throw new ApiError("invalid_parameter", { message, param: "adapters" });
}

function isAdapter(model: ServedModel): model is AdapterModel {
  return model.info !== null;
}

type Tree = AdapterModel["info"]["tree"];

/** Routers that are to behave differently must be among those of the request. */
function refuseAimless(
  { temperature, force, ban }: RouterOrder,
  adapters: readonly AdapterModel[],
): void {
  const routed = adapters.filter(({ info }) => info.tree.length > 0).map(({ name }) => name);
  if (routed.length === 0 && (temperature !== 1 || force.length + ban.length > 0)) {
    const message = "router is for adapters with routers, and this request uses none.";
    throw new ApiError("invalid_parameter", { message, param: "router" });
  }
  for (const { adapter, param } of [...force, ...ban]) {
    if (adapter === null || routed.includes(adapter)) continue;
    throw invalid(`${param}.adapter`, `one of the request's with routers`, adapter);
  }
}

/** Experts of one adapter that may not take part. */
function bansOf({ force, ban }: RouterOrder, name: string, tree: Tree): Ban[] {
  if (tree.length === 0) return [];
  const banned = tree.map(() => new Set<number>());
  const ordered = (orders: readonly LevelExperts[]) =>
    orders.filter(({ adapter }) => adapter === null || adapter === name);
  for (const order of ordered(ban)) {
    const { experts } = levelOf(order, name, tree);
    for (const expert of expertsOf(order, experts)) banned[order.level]!.add(expert);
  }
  for (const order of ordered(force)) {
    const { experts, active } = levelOf(order, name, tree);
    const forced = expertsOf(order, experts);
    if (forced.length !== active) {
      const wanted = `${active} experts, as a node of this level of "${name}" chooses`;
      throw invalid(`${order.param}.experts`, wanted, forced.length);
    }
    for (let expert = 0; expert < experts; expert++) {
      if (!forced.includes(expert)) banned[order.level]!.add(expert);
    }
  }
  for (const { level, param } of [...ordered(ban), ...ordered(force)]) {
    const { experts, active } = tree[level]!;
    const left = experts - banned[level]!.size;
    if (left >= active) continue;
    const wanted = `such that ${active} experts of "${name}" are left at level ${level}`;
    throw invalid(`${param}.experts`, wanted, left);
  }
  return banned.flatMap((experts, level) =>
    [...experts].sort((a, b) => a - b).map((expert) => ({ level, expert })),
  );
}

function levelOf({ level, param }: LevelExperts, name: string, tree: Tree): Tree[number] {
  const found = tree[level];
  if (found !== undefined) return found;
  throw invalid(`${param}.level`, `from 0 to ${tree.length - 1} for "${name}"`, level);
}

function expertsOf({ experts, param }: LevelExperts, count: number): readonly number[] {
  for (const [i, expert] of experts.entries()) {
    if (Number.isSafeInteger(expert) && expert >= 0 && expert < count) continue;
    throw invalid(`${param}.experts[${i}]`, `an expert from 0 to ${count - 1}`, expert);
  }
  return experts;
}

/** Chosen experts of one token in one linear, for each level from the leaves up. */
export function pairsPerLevel(tree: Tree): number[] {
  const pairs = tree.map(() => 0);
  let parents = 1;
  for (let level = tree.length - 1; level >= 0; level--) {
    parents *= tree[level]!.active;
    pairs[level] = parents;
  }
  return pairs;
}

/** Linears of these layers whose routing is told. */
export function routedLinears({ tree, linears }: AdapterModel["info"], layers: readonly number[]) {
  return tree.length === 0 ? [] : linears.filter(({ layer }) => layers.includes(layer));
}

function pairsOf(info: AdapterModel["info"], layers: readonly number[]): number {
  const perLinear = pairsPerLevel(info.tree).reduce((sum, pairs) => sum + pairs, 0);
  return perLinear * routedLinears(info, layers).length;
}

/** An answer that is not streamed is held until it is whole. Throws ApiError. */
export function refuseLongRouting({ mixing: { routes }, prompts, candidates }: Job): void {
  const tokens = candidates * prompts.reduce((sum, { maxTokens }) => sum + maxTokens, 0);
  if (routes === null || routes.pairs * tokens <= MAX_WHOLE_PAIRS) return;
  const message =
    `return_routing would tell ${routes.pairs} experts for each of up to ${tokens} tokens in one answer. ` +
    `Set stream, choose fewer layers or lower max_tokens.`;
  throw new ApiError("invalid_parameter", { message, param: "return_routing" });
}
