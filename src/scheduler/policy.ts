import type { Sequence } from "./sequence.js";

/** The flow of requests for the base alone. */
const BASE_FLOW: readonly number[] = [0];

/**
 * The waiting, by priority and then in fair order: start-time fair queueing over adapters. Each adapter
 * (the base is one) is a flow that takes turns; a flood for one adapter queues up behind itself, and a
 * request for another gets the next turn. A request for several takes a turn of each. Within an adapter
 * it is first come, first served.
 */
export class FairQueue {
  readonly #waiting: Sequence[] = [];
  readonly #nextTurn = new Map<number, number>(); // of adapters that are ahead of `#turn`
  #turn = 0; // of the latest admission
  #tokens = 0;

  get size(): number {
    return this.#waiting.length;
  }

  /** Of the prompts together. */
  get tokens(): number {
    return this.#tokens;
  }

  /** The turn of a new request. */
  takeTurn(adapters: readonly number[]): number {
    const flows = adapters.length === 0 ? BASE_FLOW : adapters;
    const turn = Math.max(this.#turn, ...flows.map((flow) => this.#nextTurn.get(flow) ?? 0));
    for (const flow of flows) this.#nextTurn.set(flow, turn + 1);
    return turn;
  }

  add(sequence: Sequence): void {
    let place = this.#waiting.length;
    while (place > 0 && isBefore(sequence, this.#waiting[place - 1]!)) place--;
    this.#waiting.splice(place, 0, sequence);
    this.#tokens += sequence.promptLength;
  }

  remove(sequence: Sequence): void {
    const place = this.#waiting.indexOf(sequence);
    if (place < 0) return;
    this.#waiting.splice(place, 1);
    this.#tokens -= sequence.promptLength;
  }

  admit(sequence: Sequence): void {
    this.remove(sequence);
    this.#turn = Math.max(this.#turn, sequence.turn);
    for (const [adapter, turn] of this.#nextTurn) {
      if (turn <= this.#turn) this.#nextTurn.delete(adapter);
    }
  }

  /** The first `count` in order. */
  head(count: number): readonly Sequence[] {
    return this.#waiting.slice(0, count);
  }

  all(): readonly Sequence[] {
    return this.#waiting;
  }
}

function isBefore(a: Sequence, b: Sequence): boolean {
  if (a.priority !== b.priority) return a.priority < b.priority;
  return a.turn !== b.turn ? a.turn < b.turn : a.number < b.number;
}

/** Prompts may make the running streams' next token so many times as late... */
const MOST_SLOWDOWN = 2.5;
/** ...or so late, in seconds: few streams alone have short steps. */
const SHORT_STEP = 0.008;
/** Whoever comes while prompts are alone in a step waits so many seconds at most... */
const LONGEST_LONE_STEP = 0.04;
/** ...where the fixed part of a step costs little of it: reading the weights of large models takes longer. */
const LEAST_FIXED_PARTS = 9;
/** Rows as long as nothing is known of their time. */
const FIRST_LONE_STEP = 128;
/** Kernels take so many rows at a time. */
const ROW_TILE = 16;

export interface PrefillCost {
  /** Of the running streams' rows. */
  readonly streams: number;
  /** Of every step. */
  readonly fixed: number;
  /** Of a row of the longest prompt. */
  readonly promptRow: number;
  /** What the unit of the others takes; 0 = not known. */
  readonly seconds: number;
}

/**
 * Prompt rows of a step with `room` rows left. Beside running streams they are so few that the step takes
 * at most MOST_SLOWDOWN times as long, or is short all the same; alone, that a request that comes meanwhile waits little.
 */
export function prefillBudget(room: number, cost: PrefillCost): number {
  if (cost.streams > 0) {
    const without = cost.streams + cost.fixed;
    const short = cost.seconds === 0 ? 0 : SHORT_STEP / cost.seconds;
    const most = Math.max(MOST_SLOWDOWN * without, short);
    return Math.min(room, Math.ceil((most - without) / cost.promptRow));
  }
  if (cost.seconds === 0) return Math.min(room, FIRST_LONE_STEP);
  const most = Math.max(LONGEST_LONE_STEP / cost.seconds, LEAST_FIXED_PARTS * cost.fixed);
  const tiles = Math.max(1, Math.floor(most / cost.promptRow / ROW_TILE));
  return Math.min(room, tiles * ROW_TILE);
}

/** How much of a step's expected time is left when the one behind it is planned... */
const SHARE_LEFT = 0.25;
/** ...and how many seconds at least: timers are late by a millisecond or two, and planning takes up to one. */
const LEAST_LEFT = 0.003;

/**
 * Seconds that a step which takes so long may run before the one behind it is planned. The engine must find that when the
 * running one ends; but who comes before it is planned is in it, and who comes later waits for a whole step more.
 */
export function timeToPlan(expected: number): number {
  return Math.max(0, expected - Math.max(LEAST_LEFT, SHARE_LEFT * expected));
}

/** How far a step may go beyond its prompt rows so that short prompts end with it: a share of those rows. */
const MOST_OVER = 0.5;

/**
 * Divides `budget` rows among prompts (oldest first, by rows they still need): a quarter for the oldest, so that long ones are
 * not starved, the rest to the shortest first, so that short ones start soon. A prompt that would end with a few rows more gets
 * them, of the `room` that the step has. Where some end, what they leave is used by nobody: it would make their tokens later.
 */
export function sharePrefill(remaining: readonly number[], budget: number, room: number): number[] {
  const rows = remaining.map(() => 0);
  if (rows.length === 0) return rows;
  rows[0] = Math.min(Math.ceil(budget / 4), remaining[0]!);
  let left = budget - rows[0];
  let someEnd = rows[0] === remaining[0];
  const over = Math.min(Math.floor(MOST_OVER * budget), room - budget);
  const shortestFirst = [...rows.keys()].sort((a, b) => remaining[a]! - remaining[b]! || a - b);
  for (const index of shortestFirst) {
    const needed = remaining[index]! - rows[index]!;
    const ends = needed <= left + over;
    const more = ends ? needed : someEnd ? 0 : Math.max(0, left);
    rows[index]! += more;
    left -= more;
    someEnd ||= ends;
  }
  return rows;
}

/**
 * Prompt rows of a step whose log-probabilities are asked for. Each takes the logits of the whole
 * vocabulary, sorted, and objects on the event loop: everybody else's next token waits for them.
 */
const MAX_LOGPROB_ROWS = 64;

/** Rows that prompts could use in one step. */
export function rowNeeds(prompts: readonly Sequence[]): number[] {
  const asking = prompts.filter(({ promptLogprobs }) => promptLogprobs !== null).length;
  const most = Math.max(1, Math.floor(MAX_LOGPROB_ROWS / asking));
  return prompts.map(({ remaining, promptLogprobs }) =>
    promptLogprobs === null ? remaining : Math.min(remaining, most),
  );
}

/** The newest of those with the lowest priority. */
export function leastUrgent(running: readonly Sequence[]): Sequence {
  return running.reduce((last, sequence) => (sequence.priority >= last.priority ? sequence : last));
}
