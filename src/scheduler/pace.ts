/** What a step computes, as far as its time depends on it. */
export interface StepWork {
  readonly rows: number;
  /** Positions that the rows attend to, over all rows. */
  readonly positions: number;
}

/** How much an observation counts: each one this much less than the next. */
const DECAY = 0.98;
/** A step that differs less than this from the last one observed tells nothing new. */
const LEAST_CHANGE = 0.1;
const MOST_FIXED_ROWS = 64;
const MOST_ROWS_PER_POSITION = 1 / 64;

/**
 * What a step costs, learnt from finished steps: a fixed part (reading the weights), a part per row and
 * a part per position attended to. The unit is the cost of one row. Relative least squares, so that
 * steps that something else made slow hardly count.
 */
export class StepPace {
  #fixedRows = 4;
  #rowsPerPosition = 1 / 2048;
  #secondsPerRow = 0;
  #last: StepWork = { rows: 0, positions: 0 };
  /** Sums over observations x = (1, rows, positions) / seconds of x x', and of x. */
  readonly #products = [0, 1, 2].map(() => [0, 0, 0]);
  readonly #sums = [0, 0, 0];

  /** The cost of a step's fixed part. */
  get fixedRows(): number {
    return this.#fixedRows;
  }

  /** What the unit of cost takes; 0 as long as it is not known. */
  get secondsPerRow(): number {
    return this.#secondsPerRow;
  }

  /** What a step takes, in seconds; 0 as long as it is not known. */
  secondsOf(work: StepWork): number {
    return this.#secondsPerRow * (this.#fixedRows + this.costOf(work));
  }

  /** The cost of rows without the fixed part. */
  costOf({ rows, positions }: StepWork): number {
    return rows + this.#rowsPerPosition * positions;
  }

  observe(work: StepWork, seconds: number): void {
    if (isNear(work.rows, this.#last.rows) && isNear(work.positions, this.#last.positions)) return;
    this.#last = work;
    const x = [1 / seconds, work.rows / seconds, work.positions / seconds];
    for (const [row, sums] of this.#products.entries()) {
      for (const column of sums.keys()) sums[column] = sums[column]! * DECAY + x[row]! * x[column]!;
      this.#sums[row] = this.#sums[row]! * DECAY + x[row]!;
    }
    const costs = solve(this.#products, this.#sums);
    if (costs === null) return;
    const [fixed, row, position] = costs;
    if (row <= 0) return; // too few different steps yet
    this.#secondsPerRow = row;
    this.#fixedRows = clamp(fixed / row, MOST_FIXED_ROWS);
    this.#rowsPerPosition = clamp(position / row, MOST_ROWS_PER_POSITION);
  }
}

function isNear(value: number, last: number): boolean {
  return Math.abs(value - last) <= LEAST_CHANGE * last;
}

function clamp(value: number, most: number): number {
  return Math.min(Math.max(value, 0), most);
}

/** Cramer's rule; null where the equations do not determine the three unknowns. */
function solve(matrix: readonly number[][], vector: readonly number[]): Triple | null {
  const [a, b, c] = matrix[0]!.map((_, column) => matrix.map((row) => row[column]!)) as Columns;
  const v = vector as unknown as Triple;
  const whole = determinant(a, b, c);
  if (Math.abs(whole) <= 1e-12 * Math.abs(a[0] * b[1] * c[2])) return null;
  return [determinant(v, b, c) / whole, determinant(a, v, c) / whole, determinant(a, b, v) / whole];
}

type Triple = [number, number, number];
type Columns = [Triple, Triple, Triple];

function determinant(a: Triple, b: Triple, c: Triple): number {
  return (
    a[0] * (b[1] * c[2] - b[2] * c[1]) +
    a[1] * (b[2] * c[0] - b[0] * c[2]) +
    a[2] * (b[0] * c[1] - b[1] * c[0])
  );
}
