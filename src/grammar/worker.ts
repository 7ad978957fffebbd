import { parentPort, workerData } from "node:worker_threads";
import {
  type Answer,
  COMPILING,
  type MaskResult,
  type Request,
  type WorkerData,
} from "./messages.js";
import { Utf8Guard } from "./utf8.js";
import type { Vocabulary } from "./vocabulary.js";
import { loadXgrammar, reasonIn } from "./xgrammar.js";

/** A thread that compiles grammars and follows them. Compiling blocks it: see service.ts. */

type Library = ReturnType<typeof loadXgrammar>["library"];
type Compiler = Awaited<ReturnType<Library["GrammarCompiler"]["createGrammarCompiler"]>>;
type Compiled = Awaited<ReturnType<Compiler["compileGrammar"]>>;
type Matcher = Awaited<ReturnType<Library["GrammarMatcher"]["createGrammarMatcher"]>>;

const MOST_COMPILED = 64;

/** One generation. */
interface Followed {
  readonly matcher: Matcher;
  readonly mask: Uint32Array;
  lastByte: number; // of its answer so far; 0 before the first
}

class GrammarThread {
  readonly #library: Library;
  readonly #compiler: Compiler;
  readonly #busyWith: Int32Array;
  /** Bits of a mask's last word that belong to tokens. */
  readonly #lastBits: number;
  readonly #compiled = new Map<string, Compiled>(); // least recently used first
  readonly #sessions = new Map<number, Followed>();
  readonly #utf8: Utf8Guard;

  private constructor(library: Library, compiler: Compiler, data: WorkerData) {
    this.#library = library;
    this.#compiler = compiler;
    this.#busyWith = data.busyWith;
    this.#utf8 = new Utf8Guard(data.vocabulary);
    this.#lastBits = -1 >>> ((32 - (data.vocabulary.size % 32)) % 32);
  }

  static async create(library: Library, data: WorkerData): Promise<GrammarThread> {
    const { size, stopTokens } = data.vocabulary;
    const info = await library.TokenizerInfo.createTokenizerInfo(
      byteLevelSpellings(data.vocabulary),
      "byte_level",
      false,
      size,
      [...stopTokens],
    );
    const compiler = await library.GrammarCompiler.createGrammarCompiler(info, false);
    return new GrammarThread(library, compiler, data);
  }

  async answer(request: Request): Promise<Answer> {
    switch (request.kind) {
      case "compile":
        await this.#compile(request.grammar);
        return { kind: "compiled" };
      case "open": {
        const masks = [await this.#open(request)];
        return { kind: "masks", masks };
      }
      case "accept": {
        const masks: MaskResult[] = [];
        for (const [i, session] of request.sessions.entries()) {
          masks.push(await this.#accept(session, [request.tokens[i]!]));
        }
        return { kind: "masks", masks };
      }
      case "close":
        this.#sessions.get(request.session)?.matcher.dispose();
        this.#sessions.delete(request.session);
        return { kind: "closed" };
    }
  }

  async #compile(grammar: string): Promise<Compiled> {
    const known = this.#compiled.get(grammar);
    this.#compiled.delete(grammar);
    Atomics.store(this.#busyWith, 0, COMPILING);
    const compiled = known ?? (await this.#compiler.compileGrammar(grammar));
    Atomics.store(this.#busyWith, 0, 0);
    this.#compiled.set(grammar, compiled);
    if (this.#compiled.size > MOST_COMPILED) {
      const [oldest, unused] = this.#compiled.entries().next().value!;
      this.#compiled.delete(oldest);
      unused.dispose(); // matchers share what they need of it
    }
    return compiled;
  }

  async #open(request: Request & { kind: "open" }): Promise<MaskResult> {
    const compiled = await this.#compile(request.grammar);
    const matcher = await this.#library.GrammarMatcher.createGrammarMatcher(compiled);
    this.#sessions.set(request.session, { matcher, mask: request.mask, lastByte: 0 });
    return await this.#accept(request.session, request.tokens);
  }

  async #accept(session: number, tokens: readonly number[]): Promise<MaskResult> {
    const state = this.#sessions.get(session);
    if (state === undefined) return { session, failure: null }; // closed meanwhile
    Atomics.store(this.#busyWith, 0, session);
    const { matcher, mask } = state;
    const outside = tokens.some((token) => !matcher.acceptToken(token));
    if (!outside) {
      for (const token of tokens) state.lastByte = this.#utf8.lastByte(state.lastByte, token);
      mask.set(await matcher.getNextTokenBitmask());
      mask[mask.length - 1]! &= this.#lastBits;
      this.#utf8.apply(mask, state.lastByte);
    }
    Atomics.store(this.#busyWith, 0, 0);
    if (outside) return { session, failure: "a token was sampled that the grammar does not allow" };
    if (mask.some((word) => word !== 0)) return { session, failure: null };
    return { session, failure: "the grammar cannot go on: no token of this model continues it" };
  }
}

/** Bytes as the library wants them: GPT-2's alphabet, where every byte is a printable character. */
function byteLevelSpellings({ size, bytes, starts }: Vocabulary): string[] {
  let shifted = 0x100;
  const alphabet = Array.from({ length: 256 }, (_, byte) => {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCodePoint(printable ? byte : shifted++);
  });
  return Array.from({ length: size }, (_, id) => {
    let text = "";
    for (let i = starts[id]!; i < starts[id + 1]!; i++) text += alphabet[bytes[i]!];
    return text;
  });
}

async function serve(data: WorkerData): Promise<void> {
  const port = parentPort!;
  process.removeAllListeners("warning"); // the loader's way in is called experimental by Node.js 20
  const { library, complaints } = loadXgrammar();
  const thread = await GrammarThread.create(library, data);
  let queue = Promise.resolve();
  port.on("message", (request: Request) => {
    queue = queue.then(async () => {
      try {
        port.postMessage((await thread.answer(request)) satisfies Answer);
      } catch {
        // The library has aborted; what it holds cannot be trusted any more.
        const answer: Answer = { kind: "rejected", reason: reasonIn(complaints()) };
        port.postMessage(answer);
        port.close();
      }
    });
  });
}

await serve(workerData as WorkerData);
