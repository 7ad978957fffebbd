import { MAX_ADAPTERS, MAX_TOP_LOGPROBS, type StepArrays, type StepLimits } from "./native.js";

type Column = Int32ArrayConstructor | Uint32ArrayConstructor | Float32ArrayConstructor;
type Row = readonly [name: keyof StepArrays, type: Column, length: (limits: StepLimits) => number];

const perRow = (limits: StepLimits) => limits.rows;
const perSequence = (limits: StepLimits) => limits.sequences;
const perAdapter = (limits: StepLimits) => limits.sequences * MAX_ADAPTERS;
const offsets = (limits: StepLimits) => limits.sequences + 1;

/** Every array of a step, in the order of StepInput and StepOutput in addon/engine/step.h. */
const LAYOUT: readonly Row[] = [
  ["counts", Int32Array, () => 2],
  ["tokens", Int32Array, perRow],
  ["nextTokens", Int32Array, perRow],
  ["slot", Int32Array, perSequence],
  ["flags", Uint32Array, perSequence],
  ["rowStart", Int32Array, offsets],
  ["context", Int32Array, perSequence],
  ["blockStart", Int32Array, offsets],
  ["blocks", Int32Array, (limits) => limits.blocks],
  ["historyStart", Int32Array, offsets],
  ["historyPrompt", Int32Array, perSequence],
  ["history", Int32Array, (limits) => limits.history],
  ["biasStart", Int32Array, offsets],
  ["biasToken", Int32Array, (limits) => limits.biases],
  ["biasValue", Float32Array, (limits) => limits.biases],
  ["sampleIndex", Int32Array, perSequence],
  ["seed", Uint32Array, (limits) => 2 * limits.sequences],
  ["temperature", Float32Array, perSequence],
  ["topP", Float32Array, perSequence],
  ["minP", Float32Array, perSequence],
  ["topK", Int32Array, perSequence],
  ["presence", Float32Array, perSequence],
  ["frequency", Float32Array, perSequence],
  ["repetition", Float32Array, perSequence],
  ["topLogprobs", Int32Array, perSequence],
  ["mask", Uint32Array, (limits) => limits.sequences * limits.maskWords],
  ["routeStart", Int32Array, offsets],
  ["routeLayers", Uint32Array, (limits) => limits.sequences * limits.layerWords],
  ["adapterStart", Int32Array, offsets],
  ["adapter", Int32Array, perAdapter],
  ["adapterScale", Float32Array, perAdapter],
  ["routerTemperature", Float32Array, perAdapter],
  ["banStart", Int32Array, (limits) => perAdapter(limits) + 1],
  ["banLevel", Int32Array, (limits) => limits.bans],
  ["banExpert", Int32Array, (limits) => limits.bans],
  // outputs
  ["status", Int32Array, perSequence],
  ["sampled", Int32Array, perSequence],
  ["sampledLogprob", Float32Array, perSequence],
  ["topTokens", Int32Array, (limits) => limits.sequences * MAX_TOP_LOGPROBS],
  ["topLogprobValues", Float32Array, (limits) => limits.sequences * MAX_TOP_LOGPROBS],
  ["rowLogprob", Float32Array, perRow],
  ["rowTopTokens", Int32Array, (limits) => limits.rows * MAX_TOP_LOGPROBS],
  ["rowTopLogprobs", Float32Array, (limits) => limits.rows * MAX_TOP_LOGPROBS],
  ["pooled", Float32Array, (limits) => limits.sequences * limits.width],
  ["routeExpert", Int32Array, (limits) => limits.routes],
  ["routeScore", Float32Array, (limits) => limits.routes],
];

/** Arrays start on cache lines of their own: the engine writes some while TypeScript reads others. */
const ALIGNMENT = 64;

/** All arrays of one step at their largest, as views of one buffer that never moves. */
export function allocateStepArrays(limits: StepLimits): StepArrays {
  const aligned = LAYOUT.map(
    ([, , length]) => Math.ceil((length(limits) * 4) / ALIGNMENT) * ALIGNMENT,
  );
  const buffer = new ArrayBuffer(aligned.reduce((sum, bytes) => sum + bytes, 0));
  let offset = 0;
  const views = LAYOUT.map(([name, type, length], index) => {
    const view = new type(buffer, offset, length(limits));
    offset += aligned[index] ?? 0;
    return [name, view] as const;
  });
  return Object.fromEntries(views) as unknown as StepArrays;
}
