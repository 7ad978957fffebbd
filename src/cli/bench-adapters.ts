import type { Peaks } from "../engine/native.js";
import type { BenchResult } from "./bench-run.js";

/** What adapters leave of the base's speed, beside what their bytes allow. */
export interface AdapterCost {
  readonly name: string;
  readonly bytesPerStep: number;
  readonly ofBase: number; // tokens/s with adapters / tokens/s of the base with as many streams
  readonly bound: number; // the base's step / (the base's step + the bytes at the measured bandwidth)
  readonly ofBound: number;
}

/** Of every result with adapters that has its like on the base. */
export function adapterCosts(results: readonly BenchResult[], peaks: Peaks): AdapterCost[] {
  return results.flatMap((result) => {
    const { name, streams, rowsPerStep, adapterBytesPerStep: bytesPerStep } = result;
    if (result.distinctAdapters === 0) return [];
    const base = results.find(
      (each) =>
        each.distinctAdapters === 0 &&
        each.streams === streams &&
        Math.round(each.rowsPerStep) === Math.round(rowsPerStep),
    );
    if (base === undefined) return [];
    const ofBase = result.tokensPerSecond / base.tokensPerSecond;
    const baseSeconds = base.stepMilliseconds / 1000;
    const bound = baseSeconds / (baseSeconds + bytesPerStep / peaks.readBytes);
    return { name, bytesPerStep, ofBase, bound, ofBound: ofBase / bound };
  });
}

export function costTable(costs: readonly AdapterCost[]): string {
  const lines = costs.map(({ name, bytesPerStep, ofBase, bound, ofBound }) =>
    line(name, [
      (bytesPerStep / 1e6).toFixed(1),
      ofBase.toFixed(3),
      bound.toFixed(3),
      ofBound.toFixed(3),
    ]),
  );
  return [line("", ["MB/step", "of base", "bound", "of bound"]), ...lines].join("\n");
}

function line(name: string, cells: readonly string[]): string {
  return name.padEnd(36) + cells.map((text) => text.padStart(12)).join("");
}
