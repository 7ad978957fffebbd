import type { Outcome, Sendable } from "./stream.js";

export interface Schedule {
  readonly requests: readonly Sendable[];
  readonly arrivals: Float64Array; // seconds from the start, one for each request, rising
  readonly maxConcurrency: number; // Infinity = no bound
}

export interface Run {
  readonly outcomes: readonly Outcome[]; // in the order of the requests
  readonly start: number; // ms of performance.now()
  readonly seconds: number;
}

/**
 * Sends each request when it is due, or, where the bound on concurrency holds it back, as soon as an
 * earlier one has ended. Its clock starts when it is sent, as in vLLM's client.
 */
export async function runSchedule(
  { requests, arrivals, maxConcurrency }: Schedule,
  send: (request: Sendable) => Promise<Outcome>,
  onProgress: (finished: number) => void = () => {},
): Promise<Run> {
  const outcomes: Outcome[] = [];
  const start = performance.now();
  let [due, sent, finished] = [0, 0, 0];
  await new Promise<void>((resolve) => {
    const arrive = () => {
      const now = (performance.now() - start) / 1000;
      while (due < requests.length && arrivals[due]! <= now) due++;
      if (due < requests.length) setTimeout(arrive, (arrivals[due]! - now) * 1000);
      pump();
    };
    const pump = () => {
      while (sent < due && sent - finished < maxConcurrency) void launch(sent++);
    };
    const launch = async (index: number) => {
      outcomes[index] = await send(requests[index]!);
      onProgress(++finished);
      if (finished === requests.length) resolve();
      else pump();
    };
    arrive();
  });
  return { outcomes, start, seconds: (performance.now() - start) / 1000 };
}
