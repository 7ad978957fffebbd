/** Hears how long a callback kept the event loop from everything else. */
export type Held = (callback: "request" | "submit", seconds: number) => void;

/** Runs `work` and tells how long it took, up to its first wait. */
export function timed<Result>(
  held: Held,
  callback: Parameters<Held>[0],
  work: () => Result,
): Result {
  const began = performance.now();
  try {
    return work();
  } finally {
    held(callback, (performance.now() - began) / 1000);
  }
}
