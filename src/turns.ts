import { entered } from "./hold.js";

/**
 * The event loop's turns. Long work is a generator that yields wherever it may pause; all such work of
 * the process shares one slice per turn, so that however much of it there is, everything else goes on.
 */

/** What long work may hold the event loop for in one go; a step that began within it is finished. */
const SLICE_MS = 1;

const waiting: (() => void)[] = [];
/** How much of this turn's slice is gone. */
let spentMs = 0;
let ending = false;

/** Resolves in a turn that no other long work has. */
export function ownTurn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    endTurn();
  });
}

function endTurn(): void {
  if (!ending) setImmediate(beginTurn);
  ending = true;
}

function beginTurn(): void {
  entered("slice");
  ending = false;
  spentMs = 0;
  waiting.shift()?.();
  if (waiting.length > 0) endTurn();
}

/**
 * Runs work to its end. Where no other long work waits, what takes less than is left of this turn's slice is
 * done before this returns, and its promise with it.
 */
export async function spread<Result>(work: Generator<unknown, Result>): Promise<Result> {
  if (waiting.length > 0 || spentMs >= SLICE_MS) await ownTurn();
  for (;;) {
    const step = runSlice(work);
    if (step.done === true) return step.value;
    await ownTurn();
  }
}

/** Runs work to its end in one go: where nobody waits for anything else. */
export function finished<Result>(work: Generator<unknown, Result>): Result {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}

/** Runs work for what is left of this turn's slice, one step at least. */
export function runSlice<Result>(
  work: Generator<unknown, Result>,
): IteratorResult<unknown, Result> {
  const began = performance.now();
  const left = SLICE_MS - spentMs;
  try {
    for (;;) {
      const step = work.next();
      if (step.done === true || performance.now() - began >= left) return step;
    }
  } finally {
    spentMs += performance.now() - began;
    endTurn();
  }
}

/** Resolves when `ms` have passed or, before that, `event` has happened. */
export function passed(ms: number, event: Promise<unknown>): Promise<void> {
  return new Promise((resolve, reject) => {
    let over = false;
    const end = () => {
      if (over) return; // Node.js would look into a second call of resolve, step after step
      over = true;
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(end, ms);
    event.then(end, reject);
  });
}

/** Resolves once the event loop has looked at every socket: what had reached the kernel by now is known. */
export function socketsSeen(): Promise<void> {
  // The first turn may follow a look that began before now; a whole one lies between it and the second.
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}
