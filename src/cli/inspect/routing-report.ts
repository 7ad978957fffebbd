import { hitRate, Segments } from "./consistency.js";
import { evenness, type Place, type Survey } from "./routing.js";

const SEGMENT = 16; // tokens
const GOOD_HIT_RATE = 0.95;

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
  const segments = new Segments(SEGMENT);
  for (const { traces } of places) {
    for (const trace of traces) {
      for (let expert = 0; expert < experts; expert++) segments.add(trace, expert);
    }
  }
  const { srp, sizeRatio } = segments.best();
  return [
    `${name}: experts chosen, in % of the choices of all trees: ${percents(total(places))}`,
    `  ${dead} of ${places.length * experts} experts never chosen`,
    sizeRatio === null
      ? `  SRP needs an answer of ${SEGMENT} tokens or more`
      : `  SRP over ${SEGMENT} tokens ${srp.toFixed(3)}, with ${sizeRatio.toFixed(2)} experts per expert used`,
    ...cacheLines(places, experts),
    ...layerLines(places),
  ];
}

/** A cache goes on from answer to answer, as a server's does. */
function cacheLines(places: readonly Place[], experts: number): string[] {
  const rates = Array.from({ length: experts }, (_, index) => {
    const capacity = index + 1;
    const mean = (segment: number | null) =>
      places.reduce((sum, { traces }) => sum + hitRate(traces.flat(), capacity, segment), 0) /
      places.length;
    return { capacity, oracle: mean(SEGMENT), lru: mean(null) };
  });
  const enough = rates.find(({ lru }) => lru >= GOOD_HIT_RATE)!.capacity;
  return [
    "  experts of each tree in a cache   SCH    LRU",
    ...rates.map(
      ({ capacity, oracle, lru }) =>
        `  ${String(capacity).padStart(31)} ${oracle.toFixed(3).padStart(5)}  ${lru.toFixed(3).padStart(5)}`,
    ),
    `  ${enough} of ${experts} hold ${100 * GOOD_HIT_RATE} % of the uses with the least recently used leaving first`,
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
  return places[0]!.counts.map((_, expert) =>
    places.reduce((sum, { counts }) => sum + counts[expert]!, 0),
  );
}

function percents(counts: readonly number[]): string {
  const all = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count) => ((100 * count) / all).toFixed(1).padStart(5)).join(" ");
}
