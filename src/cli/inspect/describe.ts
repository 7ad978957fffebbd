import { describeAdapter } from "./adapter.js";
import type { Inspection, ModelDescription, ModelInspection, TensorInfo } from "./inspection.js";
import { bytesText, countText } from "./units.js";

/** The lines that `smore inspect` prints. */
export function describe(inspection: Inspection, listTensors: boolean): string[] {
  const { totals, format, tensors } = inspection;
  const types = Object.entries(totals.byDtype)
    .sort(([, a], [, b]) => b - a)
    .map(([dtype, bytes]) => `${dtype} ${bytesText(bytes)}`);
  return [
    ...describeKind(inspection),
    `parameters ${countText(totals.parameters)} in ${totals.tensors} tensors`,
    `file       ${format}, ${bytesText(totals.bytes)} of tensors (${types.join(", ")})`,
    ...(listTensors ? ["", ...tensorTable(tensors)] : []),
  ];
}

function describeKind(inspection: Inspection): string[] {
  switch (inspection.kind) {
    case "model":
      return describeModel(inspection);
    case "adapter":
      return describeAdapter(inspection);
    case "tensors":
      return ["a safetensors file by itself"];
  }
}

function describeModel({ config, problem }: ModelInspection): string[] {
  if (config === null) return [`a model that cannot be served: ${problem ?? "unknown"}`];
  return [
    `${config.family} model`,
    `layers     ${config.layers}, width ${config.width}, FFN ${config.ffnWidth}`,
    `attention  ${config.heads} heads over ${config.kvHeads} of keys and values, ` +
      `${config.headDim} wide${windowText(config)}`,
    `vocabulary ${config.vocab}${config.tied ? ", embedding and output tied" : ""}`,
    `context    ${config.maxPosition} tokens, ` +
      `${bytesText(kvBytes(config))} of keys and values each (16 bits a number)`,
  ];
}

function windowText({ slidingWindow, windowPattern }: ModelDescription): string {
  return slidingWindow > 0 ? `, window of ${slidingWindow} in ${windowPattern}` : "";
}

function kvBytes({ layers, kvHeads, headDim }: ModelDescription): number {
  return 2 * layers * kvHeads * headDim * 2;
}

function tensorTable(tensors: readonly TensorInfo[]): string[] {
  const rows = tensors.map(({ name, dtype, shape, bytes }) => [
    name,
    dtype,
    `[${shape.join(", ")}]`,
    bytesText(bytes),
  ]);
  const widths = [0, 1, 2].map((column) =>
    Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  "));
}
