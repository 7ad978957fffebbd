import {
  type CacheRates,
  cacheSizes,
  consistencyOf,
  enoughOf,
  evenness,
  GOOD_HIT_RATE,
  SEGMENT,
  sumOf,
} from "../../metrics/routing-figures.js";
import { finished } from "../../turns.js";
import type { Place, Survey } from "./routing.js";

/** Lines for people. */
export function describeRouting(survey: Survey): string[] {
  const { adapter, answers, tokens, levels, places } = survey;
  const lines = [
    `${adapter}: ${answers} answers, ${tokens} tokens, ${places.length / levels} trees`,
  ];
  for (let level = levels - 1; level >= 0; level--) {
    const own = places.filter((place) => place.level === level);
    lines.push("", ...describeLevel(levelName(level, levels), own));
  }
  return lines;
}

export function levelName(level: number, levels: number): string {
  if (level === levels - 1) return "root";
  return level === 0 ? "leaves" : `level ${level}`;
}

function describeLevel(name: string, places: readonly Place[]): string[] {
  const experts = places[0]!.experts;
  const dead = places.flatMap(({ counts }) => counts.filter((count) => count === 0)).length;
  const trees = places.map(({ traces }) => traces);
  const {
    srp: { srp, sizeRatio },
    rates,
  } = finished(consistencyOf(trees, experts, cacheSizes(experts, experts)));
  return [
    `${name}: experts chosen, in % of the choices of all trees: ${percents(total(places))}`,
    `  ${dead} of ${places.length * experts} experts never chosen`,
    sizeRatio === null
      ? `  SRP needs an answer of ${SEGMENT} tokens or more`
      : `  SRP over ${SEGMENT} tokens ${srp.toFixed(3)}, with ${sizeRatio.toFixed(2)} experts per expert used`,
    ...cacheLines(rates, experts),
    ...layerLines(places),
  ];
}

function cacheLines(rates: readonly CacheRates[], experts: number): string[] {
  return [
    "  experts of each tree in a cache   SCH    LRU",
    ...rates.map(
      ({ capacity, oracle, lru }) =>
        `  ${String(capacity).padStart(31)} ${oracle.toFixed(3).padStart(5)}  ${lru.toFixed(3).padStart(5)}`,
    ),
    `  ${enoughOf(rates)} of ${experts} hold ${100 * GOOD_HIT_RATE} % of the uses with the least recently used leaving first`,
  ];
}

function layerLines(places: readonly Place[]): string[] {
  const layers = [...new Set(places.map(({ layer }) => layer))];
  return [
    "  layer  evenness  experts chosen, in %",
    ...layers.map((layer) => {
      const counts = total(places.filter((place) => place.layer === layer));
      const even = evenness(counts).toFixed(3);
      return `  ${String(layer).padStart(5)}  ${even.padStart(8)}  ${percents(counts)}`;
    }),
  ];
}

export function total(places: readonly Place[]): number[] {
  return sumOf(places.map(({ counts }) => counts));
}

function percents(counts: readonly number[]): string {
  const all = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count) => ((100 * count) / all).toFixed(1).padStart(5)).join(" ");
}
