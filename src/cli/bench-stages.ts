import {
  type NativeEngine,
  type Peaks,
  PROFILE_FIGURES,
  PROFILE_STAGES,
  type ProfileStage,
} from "../engine/native.js";

/** What a stage took of the average step. Rates are null where nothing was counted. */
export interface StageResult {
  readonly stage: ProfileStage;
  readonly microseconds: number;
  readonly gigabytesPerSecond: number | null;
  readonly gigaflopsPerSecond: number | null;
}

/** Reads an engine's profile from its making on. */
export class StageClock {
  readonly #engine: NativeEngine;
  readonly #before: Float64Array;

  constructor(engine: NativeEngine) {
    this.#engine = engine;
    this.#before = this.#figures();
  }

  /** Stages that took any time, per step. */
  read(steps: number): StageResult[] {
    const after = this.#figures();
    const spent = (stage: number, figure: (typeof PROFILE_FIGURES)[number]) => {
      const index = stage * PROFILE_FIGURES.length + PROFILE_FIGURES.indexOf(figure);
      return after[index]! - this.#before[index]!;
    };
    return PROFILE_STAGES.flatMap((stage, index) => {
      const seconds = spent(index, "seconds");
      if (seconds <= 0) return [];
      const rate = (amount: number) => (amount > 0 ? amount / seconds / 1e9 : null);
      return {
        stage,
        microseconds: (seconds / steps) * 1e6,
        gigabytesPerSecond: rate(spent(index, "bytes")),
        gigaflopsPerSecond: rate(spent(index, "operations")),
      };
    });
  }

  #figures(): Float64Array {
    const figures = new Float64Array(PROFILE_STAGES.length * PROFILE_FIGURES.length);
    this.#engine.profile(figures);
    return figures;
  }
}

export function peaksLine(peaks: Peaks): string {
  const giga = (value: number) => (value / 1e9).toFixed(0);
  const rates = `${giga(peaks.int8Operations)} GFLOP/s int8, ${giga(peaks.floatOperations)} float32`;
  return `Peaks of the machine: ${giga(peaks.readBytes)} GB/s read, ${rates}`;
}

export function stageTable(stages: readonly StageResult[], peaks: Peaks): string {
  const head = ["us/step", "GB/s", "of peak", "GFLOP/s", "of int8 peak"];
  const lines = stages.map((result) => {
    const { gigabytesPerSecond: bytes, gigaflopsPerSecond: operations } = result;
    const figures = [
      result.microseconds.toFixed(1),
      bytes?.toFixed(1) ?? "",
      share(bytes, peaks.readBytes),
      operations?.toFixed(1) ?? "",
      share(operations, peaks.int8Operations),
    ];
    return line(`  ${result.stage}`, figures);
  });
  return [line("", head), ...lines].join("\n");
}

function share(giga: number | null, peak: number): string {
  return giga === null ? "" : `${((100 * giga * 1e9) / peak).toFixed(0)} %`;
}

function line(name: string, cells: readonly string[]): string {
  return name.padEnd(24) + cells.map((text) => text.padStart(14)).join("");
}
