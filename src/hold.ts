/** What one callback took from the event loop, up to its end or its first wait. */
export interface Hold {
  /** Time that passed. The system may have given the core to others meanwhile. */
  readonly seconds: number;
  /** What the thread of the event loop computed. */
  readonly cpuSeconds: number;
}

/** Hears how long callbacks kept the event loop from everything else. */
export type Held<Callback extends string = string> = (callback: Callback, hold: Hold) => void;

let cpuSeconds = () => performance.now() / 1000;

/** `clock` tells the seconds that its thread has computed; until then, what passed counts as computed. */
export function useCpuClock(clock: () => number): void {
  cpuSeconds = clock;
}

/** Begins where a callback does. */
export class HoldTimer {
  readonly #began = performance.now();
  readonly #cpu = cpuSeconds();

  /** What has passed so far; less to read than all of it. */
  get seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  /** So far. */
  read(): Hold {
    return { seconds: this.seconds, cpuSeconds: cpuSeconds() - this.#cpu };
  }
}

/** Runs `work` and tells what it took, up to its first wait. */
export function timed<Callback extends string, Result>(
  held: Held<Callback>,
  callback: Callback,
  work: () => Result,
): Result {
  const timer = new HoldTimer();
  try {
    return work();
  } finally {
    held(callback, timer.read());
  }
}
