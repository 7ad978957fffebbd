import type { Random } from "./random.js";

export const ASSIGNMENTS = ["random", "round-robin", "zipf"] as const;
export type Assignment = (typeof ASSIGNMENTS)[number];

/** Chooses the model of one request after the other. */
export function assigner(
  models: readonly string[],
  assignment: Assignment,
  zipfExponent: number,
  random: Random,
): () => string {
  if (assignment === "round-robin") {
    let turn = 0;
    return () => models[turn++ % models.length]!;
  }
  const exponent = assignment === "zipf" ? zipfExponent : 0;
  const shares = cumulativeShares(models.length, exponent);
  return () => {
    const drawn = random();
    return models[shares.findIndex((share) => drawn < share)] ?? models.at(-1)!;
  };
}

/** Of Zipf's law: item k of n (from 1) has the weight 1 / k^exponent; exponent 0 = all alike. */
export function cumulativeShares(count: number, exponent: number): number[] {
  const weights = Array.from({ length: count }, (_, index) => (index + 1) ** -exponent);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  let reached = 0;
  return weights.map((weight) => {
    reached += weight;
    return reached / sum;
  });
}
