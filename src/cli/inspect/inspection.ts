/** What NativeModule.inspect tells, as addon/model/inspect.h writes it. */
export type Inspection = ModelInspection | AdapterInspection | TensorsInspection;

export interface TensorInfo {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: number;
}

interface Common {
  readonly format: "gguf" | "safetensors";
  readonly tensors: readonly TensorInfo[];
  readonly totals: {
    readonly tensors: number;
    readonly parameters: number;
    readonly bytes: number;
    readonly byDtype: Readonly<Record<string, number>>;
  };
}

export interface ModelInspection extends Common {
  readonly kind: "model";
  /** Why this server cannot serve it; null when it can. */
  readonly problem: string | null;
  readonly config: ModelDescription | null;
}

export interface ModelDescription {
  readonly family: string;
  readonly layers: number;
  readonly width: number;
  readonly ffnWidth: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocab: number;
  readonly maxPosition: number;
  readonly tied: boolean;
  readonly slidingWindow: number;
  readonly windowPattern: string;
}

export interface AdapterInspection extends Common {
  readonly kind: "adapter";
  /** Why this server cannot serve it over any base; null when nothing but the base decides. */
  readonly problem: string | null;
  readonly config: Readonly<Record<string, unknown>>; // adapter_config.json
}

export interface TensorsInspection extends Common {
  readonly kind: "tensors";
}
