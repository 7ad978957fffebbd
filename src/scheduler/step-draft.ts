import type { StepArrays, StepLimits } from "../engine/native.js";
import type { StepWork } from "./pace.js";
import { pagesFor, type Sequence } from "./sequence.js";
import { type PlannedRows, restoredHistory, writeStep } from "./step-io.js";

/** A step that was written into a batch's arrays and waits for its results. */
export interface PlannedStep {
  readonly arrays: StepArrays;
  readonly parts: readonly PlannedRows[];
  readonly work: StepWork;
  /** Sequences that left the queue with this step. */
  readonly admitted: readonly Sequence[];
}

/** A step under construction, within the limits of its arrays. */
export class StepDraft {
  readonly admitted: Sequence[] = [];
  readonly #limits: StepLimits;
  readonly #parts: PlannedRows[] = [];
  #rows = 0;
  #positions = 0;
  #blocks = 0;
  #history = 0;
  #biases = 0;
  #routes = 0;

  constructor(limits: StepLimits) {
    this.#limits = limits;
  }

  get work(): StepWork {
    return { rows: this.#rows, positions: this.#positions };
  }

  /** Adds the next rows of a sequence; leaves it for a later step where the arrays are full. */
  add(sequence: Sequence, rows: number): void {
    const { planned, biases, length, request } = sequence;
    const blocks = pagesFor(planned + rows);
    const history = restoredHistory(sequence);
    const samples = planned + rows === length && request.maxTokens > 0;
    const routes = samples ? (request.routes?.pairs ?? 0) : 0;
    if (
      this.#rows + rows > this.#limits.rows ||
      this.#blocks + blocks > this.#limits.blocks ||
      this.#history + history > this.#limits.history ||
      this.#biases + biases.length > this.#limits.biases ||
      this.#routes + routes > this.#limits.routes
    ) {
      return;
    }
    this.#parts.push({ sequence, context: planned, rows, samples, firstRow: this.#rows });
    this.#rows += rows;
    this.#positions += rows * (planned + rows / 2);
    this.#blocks += blocks;
    this.#history += history;
    this.#biases += biases.length;
    this.#routes += routes;
  }

  /** Writes the arrays and counts the rows as planned; null when there are none. */
  write(arrays: StepArrays): PlannedStep | null {
    if (this.#parts.length === 0) return null;
    writeStep(arrays, this.#parts);
    for (const { sequence, rows, samples } of this.#parts) {
      sequence.planned += rows;
      sequence.pending += samples ? 1 : 0;
      sequence.queuedSteps += 1;
      sequence.fresh = false;
    }
    return { arrays, parts: this.#parts, work: this.work, admitted: this.admitted };
  }
}
