import { ApiError } from "../errors.js";
import {
  type Consistency,
  cacheSizes,
  consistencyOf,
  enoughOf,
  evenness,
  SEGMENT,
  sumOf,
} from "../metrics/routing-figures.js";
import type { SampledRouting } from "../metrics/routing-sample.js";
import { spread } from "../turns.js";
import type { ApiContext, ServedAdapter } from "./context.js";

/** GET /v1/adapters/NAME/routing: how its tokens were routed since it was loaded, by level, layer and linear. */

/** Sizes of caches that are tried. */
const MOST_SIZES = 8;

/** Counts of one level: of all trees together, of a layer's, or of one linear's. */
type Counts = readonly number[];

export async function adapterRouting(name: string, context: ApiContext) {
  const adapter = servedAdapter(name, context);
  const { total, linears } = context.adapters.routing(adapter); // first: it may be unloaded while others take their turns
  const consistency = await sampled(adapter, context);
  const { tree } = adapter.info;
  const layers = [...new Set(adapter.info.linears.map(({ layer }) => layer))];
  return {
    ...{ object: "adapter.routing", id: name, generation: adapter.adapter },
    levels: tree.map(({ experts, active }, level) => ({
      ...{ experts, active },
      ...figures(total[level] ?? []),
      unused: linears.length === 0 ? null : unused(linears.map((levels) => levels[level]!)),
    })),
    layers:
      linears.length === 0 ? [] : layers.map((layer) => layerFigures(layer, adapter, linears)),
    linears: linears.map((levels, i) => ({ ...adapter.info.linears[i], levels })),
    consistency,
  };
}

/** What neighbouring tokens say, of those generations that were looked at; null where none was. */
async function sampled({ adapter, info }: ServedAdapter, context: ApiContext) {
  const sample = context.sampledRouting(adapter);
  if (sample === null) return null;
  const levels: object[] = [];
  for (const [level, { experts }] of info.tree.entries()) {
    const sizes = cacheSizes(experts, MOST_SIZES);
    const { srp, rates } = await spread(levelConsistency(sample, level, experts, sizes));
    levels.push({
      srp: srp.sizeRatio === null ? null : rounded(srp.srp),
      experts_per_use: srp.sizeRatio === null ? null : rounded(srp.sizeRatio),
      cache: rates.map(({ capacity, oracle, lru }) => {
        return { experts: capacity, sch: rounded(oracle), lru: rounded(lru) };
      }),
      enough: enoughOf(rates),
    });
  }
  const { generations, tokens, layers } = sample;
  return { generations, tokens, layers, segment: SEGMENT, levels };
}

function* levelConsistency(
  sample: SampledRouting,
  level: number,
  experts: number,
  sizes: readonly number[],
): Generator<void, Consistency> {
  return yield* consistencyOf(yield* sample.traces(level), experts, sizes);
}

function rounded(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}

function servedAdapter(name: string, { adapters }: ApiContext): ServedAdapter {
  const found = adapters.adapters().find((adapter) => adapter.name === name);
  if (found !== undefined) return found;
  throw new ApiError("adapter_not_found", { message: `There is no adapter "${name}".` });
}

function layerFigures(layer: number, { info }: ServedAdapter, linears: readonly Counts[][]) {
  const own = linears.filter((_, i) => info.linears[i]!.layer === layer);
  const levels = info.tree.map((_, level) => {
    const trees = own.map((counts) => counts[level]!);
    return { ...figures(sumOf(trees)), unused: unused(trees) };
  });
  return { layer, levels };
}

/** `evenness` is the entropy of the shares, 1 where they are equal; null where nothing was routed yet. */
function figures(tokens: Counts) {
  const routed = tokens.some((count) => count > 0);
  return { tokens, evenness: routed ? rounded(evenness(tokens)) : null };
}

/** Experts of these trees that no token took. */
function unused(trees: readonly Counts[]): number {
  return trees.flat().filter((count) => count === 0).length;
}
