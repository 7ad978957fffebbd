/**
 * How long callbacks keep the event loop from everything else. A callback is all that runs before the event loop looks at
 * anything else: what it was called with, and what goes on in microtasks after it. So it says once, where it
 * begins, that it has been entered, and nothing that it awaits along the way can escape.
 */

/** What a callback was for. */
export type Callback =
  | "request" // of a socket: a route, a part of a body, room for an answer, a client that left
  | "slice" // long work
  | "plan"
  | "emit"
  | "metrics"
  | "telemetry"
  | "text" // a text has been tokenized, or its template rendered
  | "grammar" // a grammar worker has answered
  | "encoder" // sentences have been encoded
  | "model" // read for its text; before the server listens, but for one that was just fetched
  | "adapter" // one was loaded or made resident
  | "timer";

/** What one callback took from the event loop. */
export interface Hold {
  /** Time that passed. The system may have given the core to others meanwhile. */
  readonly seconds: number;
  /** What the thread of the event loop computed. */
  readonly cpuSeconds: number;
}

/** Hears what a callback took, once it is over. */
export type HoldListener = (callback: Callback, hold: Hold) => void;

interface Hearing {
  readonly heard: HoldListener;
  /** Seconds that the calling thread has computed. */
  readonly cpuSeconds: () => number;
}

let hearing: Hearing | null = null;

/** One listener for the event loop, which is one for the process. Null: nobody listens. */
export function hearHolds(listener: Hearing | null): void {
  hearing = listener;
}

/** A callback that has not ended. */
class Running {
  readonly #callback: Callback;
  readonly #began = performance.now();
  readonly #hearing = hearing;
  readonly #cpu = hearing?.cpuSeconds() ?? 0;

  constructor(callback: Callback) {
    this.#callback = callback;
  }

  /** What has passed so far. */
  get seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  end(): void {
    if (this.#hearing === null) return;
    const cpuSeconds = this.#hearing.cpuSeconds() - this.#cpu;
    this.#hearing.heard(this.#callback, { seconds: this.seconds, cpuSeconds });
  }
}

let running: Running | null = null;
const settled = Promise.resolve();

/** To be called first by whatever the event loop calls, and after an await of what is not ours. Within a callback that was entered already: nothing new. */
export function entered(callback: Callback): { readonly seconds: number } {
  if (running === null) {
    running = new Running(callback);
    void settled.then(afterMicrotasks); // a microtask; queueMicrotask would make an AsyncResource of each
  }
  return running;
}

/** A tick that a microtask asks for comes when there are no microtasks left. */
function afterMicrotasks(): void {
  process.nextTick(ended);
}

function ended(): void {
  const callback = running;
  running = null;
  callback?.end();
}
