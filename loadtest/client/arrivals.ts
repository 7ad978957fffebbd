import { gamma, type Random } from "./random.js";

/** Rates are requests per second. */
export interface RampUp {
  readonly strategy: "linear" | "exponential";
  readonly start: number;
  readonly end: number;
}

export interface Pace {
  readonly rate: number; // Infinity = all at once
  readonly burstiness: number; // shape of the gamma distribution of gaps; 1 = a Poisson process
  readonly rampUp: RampUp | null; // in place of `rate`
}

/**
 * When each request is due, in seconds from the start, in rising order. Without a ramp the gaps are
 * scaled so that the last one is due at count / rate, as vLLM's client does: the rate asked for is the
 * rate offered, whatever the draw.
 */
export function arrivalTimes(count: number, pace: Pace, random: Random): Float64Array {
  const times = new Float64Array(count);
  let time = 0;
  for (let index = 0; index < count; index++) {
    const rate = rateAt(index, count, pace);
    if (rate !== Infinity) time += gamma(random, pace.burstiness) / (rate * pace.burstiness);
    times[index] = time;
  }
  if (pace.rampUp !== null || time === 0) return times;
  const scale = count / pace.rate / time;
  return times.map((each) => each * scale);
}

function rateAt(index: number, count: number, { rate, rampUp }: Pace): number {
  if (rampUp === null) return rate;
  const progress = index / Math.max(count - 1, 1);
  const { strategy, start, end } = rampUp;
  return strategy === "linear"
    ? start + (end - start) * progress
    : start * (end / start) ** progress;
}
