export interface Summary {
  readonly mean: number;
  readonly median: number;
  readonly std: number; // of the whole population
  readonly percentiles: readonly number[]; // for the ranks asked for, in their order
}

/** All zero for no values, as vLLM's client reports it. */
export function summarize(values: readonly number[], ranks: readonly number[]): Summary {
  if (values.length === 0) return { mean: 0, median: 0, std: 0, percentiles: ranks.map(() => 0) };
  const sorted = Float64Array.from(values).sort();
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
  const variance = sorted.reduce((sum, value) => sum + (value - mean) ** 2, 0) / sorted.length;
  return {
    mean,
    median: percentile(sorted, 50),
    std: Math.sqrt(variance),
    percentiles: ranks.map((rank) => percentile(sorted, rank)),
  };
}

/** With linear interpolation between neighbours, as numpy's default. `sorted` must not be empty. */
export function percentile(sorted: Float64Array, rank: number): number {
  const place = (rank / 100) * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low + (high - low) * (place - below);
}
