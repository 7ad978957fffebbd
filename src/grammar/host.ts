import { Worker } from "node:worker_threads";
import { entered } from "../hold.js";
import type { TokenMask } from "../scheduler/token-mask.js";
import type { Answer, Request, WorkerData } from "./messages.js";
import { maskWords, type Vocabulary } from "./vocabulary.js";

/** What became of a worker that ended by itself or was ended. */
export interface HostEnd {
  readonly reason: string;
  /** Sessions to go on elsewhere; the one that was at work is not among them. */
  readonly sessions: readonly Session[];
}

/** A generation that outlived so many workers is taken for their killer. */
const MOST_MOVES = 2;

/** A worker is given up when an answer takes longer: its longest work is a compilation of 2 s. */
const ANSWER_MS = 5_000;

/** One grammar that a generation follows: TokenMask for the scheduler. */
export class Session implements TokenMask {
  readonly number: number;
  readonly grammar: string;
  readonly mask: Uint32Array;
  readonly tokens: number[] = [];
  bits: Uint32Array | null = null;
  failure: string | null = null;
  made: Promise<void>;
  closed = false;
  #host: Host;
  #moves = 0;
  #settle: () => void = () => {};

  constructor(number: number, grammar: string, words: number, host: Host) {
    this.number = number;
    this.grammar = grammar;
    this.mask = new Uint32Array(new SharedArrayBuffer(4 * words));
    this.made = this.#newPromise();
    this.#host = host;
    host.adopt(this);
  }

  accept(token: number): void {
    this.tokens.push(token);
    this.bits = null;
    this.made = this.#newPromise();
    this.#host.accept(this, token);
  }

  /** The generation is over. Idempotent. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#host.release(this);
  }

  settle(failure: string | null): void {
    this.failure = failure;
    this.bits = failure === null ? this.mask : null;
    this.#settle();
  }

  /** Goes on in another worker, which gets the tokens so far. */
  moveTo(host: Host): void {
    this.#host = host;
    if (this.#moves++ === MOST_MOVES) {
      this.settle("the grammar could not be followed (its workers ended)");
      return;
    }
    if (this.bits !== null) this.made = this.#newPromise();
    this.bits = null;
    host.adopt(this);
  }

  #newPromise(): Promise<void> {
    return new Promise((resolve) => {
      this.#settle = resolve;
    });
  }
}

/** A worker thread as the server sees it: what it compiled and whom it serves. */
export class Host {
  readonly grammars = new Set<string>();
  readonly sessions = new Map<number, Session>();
  readonly #vocabulary: Vocabulary;
  readonly #worker: Worker;
  readonly #busyWith = new Int32Array(new SharedArrayBuffer(4));
  readonly #onEnd: (end: HostEnd) => void;
  readonly #waiting: ((answer: Answer) => void)[] = []; // for answers, in order
  #accepted: { readonly sessions: number[]; readonly tokens: number[] } | null = null;
  #watch: NodeJS.Timeout | null = null;
  #ended = false;

  constructor(vocabulary: Vocabulary, onEnd: (end: HostEnd) => void) {
    this.#vocabulary = vocabulary;
    this.#onEnd = onEnd;
    const data: WorkerData = { vocabulary, busyWith: this.#busyWith };
    this.#worker = new Worker(new URL("worker.js", import.meta.url), { workerData: data });
    this.#worker.on("message", (answer: Answer) => this.#onAnswer(answer));
    this.#worker.on("error", (error: Error) => this.end(error.message));
    this.#worker.on("exit", () => this.end("the grammar worker has ended"));
  }

  get maskWords(): number {
    return maskWords(this.#vocabulary.size);
  }

  /** null when it is done, else why the grammar is refused; then the host has ended. */
  async compile(grammar: string): Promise<string | null> {
    const answer = await this.#ask({ kind: "compile", grammar });
    if (answer.kind === "rejected") return answer.reason;
    this.grammars.add(grammar);
    return null;
  }

  adopt(session: Session): void {
    this.sessions.set(session.number, session);
    const { number, grammar, mask, tokens } = session;
    const request: Request = {
      kind: "open",
      session: number,
      grammar,
      mask,
      tokens: [...tokens],
    };
    void this.#ask(request).then((answer) => this.#onMasks(answer));
  }

  /** Tokens of one step go to the worker together. */
  accept(session: Session, token: number): void {
    if (this.#accepted === null) {
      this.#accepted = { sessions: [], tokens: [] };
      queueMicrotask(() => this.#sendAccepted());
    }
    this.#accepted.sessions.push(session.number);
    this.#accepted.tokens.push(token);
  }

  release(session: Session): void {
    if (!this.sessions.delete(session.number)) return;
    void this.#ask({ kind: "close", session: session.number });
  }

  /** Ends the worker. What waited for an answer gets `reason`. Idempotent. */
  end(reason: string): void {
    entered("grammar");
    if (this.#ended) return;
    this.#ended = true;
    if (this.#watch !== null) clearTimeout(this.#watch);
    void this.#worker.terminate();
    const guilty = this.sessions.get(Atomics.load(this.#busyWith, 0));
    const others = [...this.sessions.values()].filter((session) => session !== guilty);
    this.sessions.clear();
    guilty?.settle(`the grammar could not be followed (${reason})`);
    for (const resolve of this.#waiting.splice(0)) resolve({ kind: "rejected", reason });
    this.#onEnd({ reason, sessions: others });
  }

  #sendAccepted(): void {
    const accepted = this.#accepted!;
    this.#accepted = null;
    void this.#ask({ kind: "accept", ...accepted }).then((answer) => this.#onMasks(answer));
  }

  #onMasks(answer: Answer): void {
    if (answer.kind !== "masks") return; // ended: its sessions have moved
    for (const { session, failure } of answer.masks) {
      this.sessions.get(session)?.settle(failure);
    }
  }

  #ask(request: Request): Promise<Answer> {
    if (this.#ended) return Promise.resolve({ kind: "rejected", reason: "it has ended" });
    this.#worker.postMessage(request);
    this.#watch ??= setTimeout(() => this.#onLate(), ANSWER_MS);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #onAnswer(answer: Answer): void {
    entered("grammar");
    if (this.#watch !== null) clearTimeout(this.#watch);
    const resolve = this.#waiting.shift();
    this.#watch = this.#waiting.length === 0 ? null : setTimeout(() => this.#onLate(), ANSWER_MS);
    resolve?.(answer);
    if (answer.kind === "rejected") this.end(answer.reason);
  }

  /** An answer that has come while this thread was busy is taken first. */
  #onLate(): void {
    const late = this.#watch;
    setImmediate(() => {
      if (this.#watch === late) this.end("it takes too long");
    });
  }
}
