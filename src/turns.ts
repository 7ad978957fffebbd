/**
 * The event loop's turns. Long work is a generator that yields wherever it may pause; all such work of
 * the process shares one slice per turn, so that however much of it there is, everything else goes on.
 */

/** What long work may hold the event loop for in one go; a step that began within it is finished. */
const SLICE_MS = 1;

const waiting: (() => void)[] = [];

/** Resolves in a turn that no other long work has. */
export function ownTurn(): Promise<void> {
  return new Promise((resolve) => {
    if (waiting.push(resolve) === 1) setImmediate(next);
  });
}

function next(): void {
  waiting.shift()?.();
  if (waiting.length > 0) setImmediate(next);
}

let heard: (seconds: number) => void = () => {};

/** `listener` hears how long each slice held the event loop. */
export function onSlice(listener: (seconds: number) => void): void {
  heard = listener;
}

/** Runs work to its end. What takes less than a slice is done before this returns, and its promise with it. */
export async function spread<Result>(work: Generator<unknown, Result>): Promise<Result> {
  for (;;) {
    const step = runSlice(work);
    if (step.done === true) return step.value;
    await ownTurn();
  }
}

/** Runs work for a slice, one step at least. */
export function runSlice<Result>(
  work: Generator<unknown, Result>,
): IteratorResult<unknown, Result> {
  const began = performance.now();
  try {
    for (;;) {
      const step = work.next();
      if (step.done === true || performance.now() - began >= SLICE_MS) return step;
    }
  } finally {
    heard((performance.now() - began) / 1000);
  }
}

/** Resolves once the event loop has looked at every socket: what had reached the kernel by now is known. */
export function socketsSeen(): Promise<void> {
  // The first turn may follow a look that began before now; a whole one lies between it and the second.
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}
