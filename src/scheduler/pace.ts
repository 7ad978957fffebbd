/** How much the latest steps count: each one this much less than the next. */
const DECAY = 0.98;
/** Rows must vary so much (variance) before they tell anything about the cost of one. */
const LEAST_VARIANCE = 4;
const MOST_FIXED_ROWS = 64;

/**
 * What a step costs, learnt from finished steps: a fixed part (reading the weights) and a part per row.
 * A recursive least-squares line through (rows, seconds).
 */
export class StepPace {
  #weight = 0;
  #rows = 0;
  #seconds = 0;
  #rowsSquared = 0;
  #rowsTimesSeconds = 0;
  #fixedRows = 4;

  /** The fixed part, as the number of rows that cost as much. */
  get fixedRows(): number {
    return this.#fixedRows;
  }

  observe(rows: number, seconds: number): void {
    this.#weight = this.#weight * DECAY + 1;
    this.#rows = this.#rows * DECAY + rows;
    this.#seconds = this.#seconds * DECAY + seconds;
    this.#rowsSquared = this.#rowsSquared * DECAY + rows * rows;
    this.#rowsTimesSeconds = this.#rowsTimesSeconds * DECAY + rows * seconds;

    const spread = this.#weight * this.#rowsSquared - this.#rows ** 2;
    if (spread < LEAST_VARIANCE * this.#weight ** 2) return;
    const perRow = (this.#weight * this.#rowsTimesSeconds - this.#rows * this.#seconds) / spread;
    if (perRow <= 0) return; // noise
    const fixed = (this.#seconds - perRow * this.#rows) / this.#weight;
    this.#fixedRows = Math.min(Math.max(fixed / perRow, 0), MOST_FIXED_ROWS);
  }
}
