import { spread } from "../turns.js";
import { Host, type HostEnd, Session } from "./host.js";
import type { Vocabulary } from "./vocabulary.js";

/** Why a grammar is not followed. */
export class GrammarError extends Error {
  /** busy: too many others are being compiled. */
  readonly kind: "rejected" | "too slow" | "busy";

  constructor(kind: GrammarError["kind"], message: string) {
    super(message);
    this.kind = kind;
  }
}

/** A grammar that is ready to be followed, by any number of generations. */
export interface CompiledGrammar {
  open(): Session;
}

export interface GrammarServiceOptions {
  /** Longest compilation. */
  readonly compileMs?: number;
  /** How long one that took longer is not tried again: the machine may only have been busy. */
  readonly slowMs?: number;
}

interface Refusal {
  readonly error: GrammarError;
  readonly until: number; // by performance.now()
}

const COMPILE_MS = 2_000;
const SLOW_MS = 60_000;
const MOST_HOSTS = 2;
const MOST_WAITING = 16;
const MOST_REMEMBERED = 256;

/**
 * Compiles grammars and keeps them. A compilation blocks its worker and may have to be killed, so it runs
 * in a worker that serves nobody, the scout. A scout that succeeds joins the hosts, which serve
 * generations; when there are enough of them, one compiles the grammar once more, now known to end.
 * No worker runs before the first grammar comes.
 */
export class GrammarService {
  readonly #makeVocabulary: () => Generator<void, Vocabulary>;
  #vocabulary: Vocabulary | null = null;
  readonly #compileMs: number;
  readonly #slowMs: number;
  readonly #hosts: Host[] = [];
  readonly #compiling = new Map<string, Promise<void>>();
  readonly #refused = new Map<string, Refusal>(); // oldest first
  #scout: Host | null = null;
  #turn: Promise<unknown> = Promise.resolve();
  #sessions = 0;
  #closed = false;

  /** `vocabulary` is asked for with the first grammar. */
  constructor(
    vocabulary: () => Generator<void, Vocabulary>,
    { compileMs = COMPILE_MS, slowMs = SLOW_MS }: GrammarServiceOptions = {},
  ) {
    this.#makeVocabulary = vocabulary;
    this.#compileMs = compileMs;
    this.#slowMs = slowMs;
  }

  /** Throws GrammarError. */
  async compile(grammar: string): Promise<CompiledGrammar> {
    if (this.#hostWith(grammar) === undefined) await this.#compileOnce(grammar);
    return { open: () => this.#open(grammar) };
  }

  /** Worker threads that run now. */
  get workers(): number {
    return this.#hosts.length + (this.#scout === null ? 0 : 1);
  }

  close(): void {
    this.#closed = true;
    for (const host of [...this.#hosts, ...(this.#scout === null ? [] : [this.#scout])]) {
      host.end("the server is closing");
    }
  }

  #hostWith(grammar: string): Host | undefined {
    return this.#hosts.find((host) => host.grammars.has(grammar));
  }

  #open(grammar: string): Session {
    const host = this.#hostWith(grammar) ?? this.#leastLoaded() ?? this.#newHost();
    const words = host.maskWords;
    return new Session(++this.#sessions, grammar, words, host);
  }

  async #compileOnce(grammar: string): Promise<void> {
    const known = this.#refused.get(grammar);
    if (known !== undefined && performance.now() < known.until) throw known.error;
    let compiling = this.#compiling.get(grammar);
    if (compiling === undefined) {
      if (this.#compiling.size >= MOST_WAITING) {
        throw new GrammarError("busy", "too many grammars are being compiled");
      }
      compiling = this.#turn.then(() => this.#compile(grammar));
      this.#compiling.set(grammar, compiling);
      this.#turn = compiling.then(
        () => {},
        () => {},
      );
    }
    try {
      await compiling;
    } catch (error) {
      if (error instanceof GrammarError) this.#remember(grammar, error);
      throw error;
    } finally {
      this.#compiling.delete(grammar);
    }
  }

  async #compile(grammar: string): Promise<void> {
    this.#vocabulary ??= await spread(this.#makeVocabulary());
    if (this.#closed) throw new GrammarError("busy", "the server is closing");
    this.#scout ??= this.#newScout();
    const scout = this.#scout;
    await this.#tried(scout, TRIVIAL); // starting a worker is not the grammar's fault
    let late = false;
    const deadline = setTimeout(() => {
      late = true;
      scout.end("it takes too long");
    }, this.#compileMs);
    const reason = await scout.compile(grammar);
    clearTimeout(deadline);
    if (reason !== null && !this.#closed) this.#scout ??= this.#newScout();
    if (late) {
      throw new GrammarError("too slow", `compiling it took more than ${this.#compileMs / 1000} s`);
    }
    if (reason !== null) throw new GrammarError("rejected", reason);
    if (this.#hosts.length < MOST_HOSTS) {
      this.#hosts.push(scout);
      this.#scout = this.#newScout(); // started before the next grammar waits for it
      return;
    }
    await this.#tried(this.#leastLoaded()!, grammar);
  }

  async #tried(host: Host, grammar: string): Promise<void> {
    if (host.grammars.has(grammar)) return;
    const reason = await host.compile(grammar);
    if (reason !== null) throw new Error(`a grammar worker failed: ${reason}`);
  }

  #leastLoaded(): Host | undefined {
    return this.#hosts.toSorted((a, b) => a.sessions.size - b.sessions.size)[0];
  }

  #newScout(): Host {
    // The first grammar is compiled before anything else needs a worker.
    const scout: Host = new Host(this.#vocabulary!, (end) => this.#onEnd(scout, end));
    return scout;
  }

  #newHost(): Host {
    const host = this.#newScout();
    this.#hosts.push(host);
    return host;
  }

  /** The sessions of a worker that is gone go on in another, but for the one that it died of. */
  #onEnd(host: Host, { reason, sessions }: HostEnd): void {
    if (this.#scout === host) this.#scout = null;
    const place = this.#hosts.indexOf(host);
    if (place >= 0) this.#hosts.splice(place, 1);
    if (this.#closed) for (const session of sessions) session.settle(reason);
    else for (const session of sessions) session.moveTo(this.#leastLoaded() ?? this.#newHost());
  }

  #remember(grammar: string, error: GrammarError): void {
    if (error.kind === "busy") return;
    const until = error.kind === "too slow" ? performance.now() + this.#slowMs : Infinity;
    this.#refused.delete(grammar);
    this.#refused.set(grammar, { error, until });
    const [oldest] = this.#refused.keys();
    if (this.#refused.size > MOST_REMEMBERED) this.#refused.delete(oldest!);
  }
}

const TRIVIAL = `root ::= "a"`;
