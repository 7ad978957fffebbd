/** Vectors of length 1 by whom they stand for, searched one after the other. */

/** Numbers that are compared between two pauses. */
const STRIDE = 1 << 15;

export interface Near {
  readonly name: string;
  readonly score: number; // cosine
}

interface Entry {
  readonly name: string;
  readonly vectors: readonly Float32Array[];
}

export class NearestIndex {
  readonly #entries = new Map<number, Entry>();

  set(handle: number, name: string, vectors: readonly Float32Array[]): void {
    this.#entries.set(handle, { name, vectors });
  }

  delete(handle: number): void {
    this.#entries.delete(handle);
  }

  /** Whose vector is nearest to one of these; null where there is none. A step of work at each pause. */
  *nearest(queries: readonly Float32Array[]): Generator<void, Near | null> {
    let best: Near | null = null;
    let compared = 0;
    for (const { name, vectors } of [...this.#entries.values()]) {
      for (const vector of vectors) {
        for (const query of queries) {
          const score = product(query, vector);
          if (best === null || score > best.score) best = { name, score };
        }
        compared += queries.length * vector.length;
        if (compared < STRIDE) continue;
        compared = 0;
        yield;
      }
    }
    return best;
  }
}

function product(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
