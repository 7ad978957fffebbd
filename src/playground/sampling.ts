/** How tokens are drawn: the controls of the page and the fields of requests that they set. */

export interface SamplingControl {
  readonly field: string;
  readonly label: string;
  readonly min: number;
  readonly max: number;
  readonly step: number;
  readonly initial: number;
  /** What the initial value means, where the number alone does not tell. */
  readonly off?: number;
  readonly help: string;
}

export const SAMPLING_CONTROLS: readonly SamplingControl[] = [
  {
    field: "temperature",
    label: "Temperature",
    min: 0,
    max: 2,
    step: 0.05,
    initial: 0.2,
    help: "0 always takes the likeliest token",
  },
  {
    field: "top_p",
    label: "Top p",
    min: 0.05,
    max: 1,
    step: 0.05,
    initial: 1,
    off: 1,
    help: "the likeliest tokens that make up this share",
  },
  {
    field: "top_k",
    label: "Top k",
    min: 0,
    max: 100,
    step: 1,
    initial: 0,
    off: 0,
    help: "so many of the likeliest tokens",
  },
  {
    field: "min_p",
    label: "Min p",
    min: 0,
    max: 0.5,
    step: 0.01,
    initial: 0,
    off: 0,
    help: "tokens at least so likely beside the likeliest",
  },
  {
    field: "repetition_penalty",
    label: "Repetition penalty",
    min: 1,
    max: 2,
    step: 0.05,
    initial: 1,
    off: 1,
    help: "holds back tokens that were there before",
  },
  {
    field: "max_tokens",
    label: "Longest answer",
    min: 16,
    max: 1024,
    step: 16,
    initial: 256,
    help: "in tokens",
  },
];

/** The fields of a request; what is off is not sent. A seed that is no number is none. */
export function samplingFields(
  values: ReadonlyMap<string, number>,
  seed: string,
): Record<string, number> {
  const fields: Record<string, number> = {};
  for (const { field, initial, off } of SAMPLING_CONTROLS) {
    const value = values.get(field) ?? initial;
    if (value !== off) fields[field] = value;
  }
  if (/^\d{1,15}$/.test(seed.trim())) fields.seed = Number(seed);
  return fields;
}
