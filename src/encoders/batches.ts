/** Which inputs share a run of the encoder: a run computes as many columns for each as its longest has. */

export interface BatchLimits {
  readonly inputs: number;
  /** Of all inputs of a run together, padding included. An input that is longer runs alone. */
  readonly tokens: number;
}

/** The indices of `lengths`, shortest first, cut into batches. */
export function batchesOf(lengths: readonly number[], limits: BatchLimits): number[][] {
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[a]! - lengths[b]!);
  const batches: number[][] = [];
  let batch: number[] = [];
  for (const index of order) {
    const padded = (batch.length + 1) * lengths[index]!;
    if (batch.length > 0 && (batch.length >= limits.inputs || padded > limits.tokens)) {
      batches.push(batch);
      batch = [];
    }
    batch.push(index);
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}
