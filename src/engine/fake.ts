import type { AdapterControl, ApiContext, ServedModel } from "../api/context.js";
import { ApiError, type ErrorCode } from "../errors.js";
import { NO_CARD } from "../models/card.js";
import type { Routes } from "../scheduler/mix.js";
import type {
  GenerateRequest,
  Generation,
  Generator,
  Reservation,
  TokenLogprob,
} from "../scheduler/request.js";
import type { TokenMask } from "../scheduler/token-mask.js";
import type { ChatTemplate, IncrementalDecoder, Tokenizer } from "../text/text.js";
import { fakeAdapterInfo } from "./fake-engine.js";

/** A deterministic model without weights, for tests of everything in front of the engine. */

export const FAKE_EOS = 257;
const FAKE_BOS = 256;
const FAKE_VOCAB = 258;

/** Every byte is a token, so characters often come in pieces. */
export function fakeTokens(text: string): number[] {
  return [...Buffer.from(text, "utf8")];
}

export interface FakeOptions {
  /** What it says, up to the end of its text. */
  readonly reply?: (request: GenerateRequest) => string;
  readonly tokenDelayMs?: number;
  /** Before the first token. */
  readonly startDelayMs?: number;
  /** Fails in place of token `after`. */
  readonly failure?: { readonly after: number; readonly code: ErrorCode; readonly message: string };
  /** Requests at a time; more are refused as overloaded. */
  readonly capacity?: number;
  readonly cachedTokens?: number;
  readonly logprobOf?: (token: number) => number;
}

export class FakeGenerator implements Generator {
  readonly requests: GenerateRequest[] = [];
  running = 0;
  cancelled = 0;
  readonly #options: FakeOptions;

  constructor(options: FakeOptions = {}) {
    this.#options = options;
  }

  reserve(requests: number): Reservation {
    const { capacity = Infinity } = this.#options;
    if (this.running + requests > capacity) throw new ApiError("overloaded");
    return { release: () => {} };
  }

  submit(request: GenerateRequest): Generation {
    this.requests.push(request);
    this.running++;
    const state = { ended: false };
    void this.#run(request, state);
    return {
      cachedTokens: this.#options.cachedTokens ?? 0,
      cancel: () => {
        if (state.ended) return;
        state.ended = true;
        this.running--;
        this.cancelled++;
      },
    };
  }

  async #run(request: GenerateRequest, state: { ended: boolean }): Promise<void> {
    const { startDelayMs = 0, tokenDelayMs = 0, failure, logprobOf } = this.#options;
    const scored = (token: number, top: number) => tokenLogprob(token, top, logprobOf);
    for await (const event of this.#events(request, startDelayMs, tokenDelayMs)) {
      if (state.ended) return;
      const failing = event.kind === "token" && event.position === failure?.after;
      if (failing || event.kind === "finish" || event.kind === "error") {
        state.ended = true;
        this.running--;
      }
      if (failing) {
        request.onEvent({ kind: "error", code: failure.code, message: failure.message });
        return;
      }
      if (event.kind === "token") {
        const { token } = event;
        const logprob = request.logprobs === null ? null : scored(token, request.logprobs);
        request.onEvent({ kind: "token", token, logprob, routes: fakeRoutes(request) });
      } else if (event.kind === "prompt") {
        const logprobs = request.prompt
          .slice(1)
          .map((token) => scored(token, request.promptLogprobs ?? 0));
        request.onEvent({ kind: "prompt", logprobs });
      } else {
        request.onEvent(event);
      }
    }
  }

  async *#events(request: GenerateRequest, startDelayMs: number, tokenDelayMs: number) {
    await pause(startDelayMs);
    if (request.promptLogprobs !== null) yield { kind: "prompt" } as const;
    if (request.pooled) {
      const [first = 0] = request.prompt;
      yield {
        kind: "embedding",
        vector: Float32Array.of(request.prompt.length, first, 0),
      } as const;
    }
    const reply = this.#options.reply?.(request) ?? "Héllo, wörld 👋 — and so on.";
    const tokens = [...fakeTokens(reply), FAKE_EOS];
    for (let position = 0; position < request.maxTokens; position++) {
      if (position > 0) await pause(tokenDelayMs);
      const token = await allowedToken(request.mask, tokens[position % tokens.length]!);
      if (token === null) {
        const message = request.mask!.failure!;
        yield { kind: "error", code: "grammar_failed", message } as const;
        return;
      }
      if (request.stopTokens.has(token) && !request.ignoreEos) {
        const completionTokens = position + 1;
        const routes = fakeRoutes(request);
        yield {
          kind: "finish",
          reason: "stop",
          stopToken: token,
          routes,
          completionTokens,
        } as const;
        return;
      }
      yield { kind: "token", token, position } as const;
      request.mask?.accept(token);
    }
    const completionTokens = request.maxTokens;
    const last = { reason: "length", stopToken: null, routes: null, completionTokens } as const;
    yield { kind: "finish", ...last } as const;
  }
}

/** What it says, where a grammar allows it; else the first token that one allows; null: the grammar failed. */
async function allowedToken(mask: TokenMask | null, wanted: number): Promise<number | null> {
  if (mask === null) return wanted;
  await mask.made;
  if (mask.failure !== null) return null;
  const bits = mask.bits!;
  const allows = (token: number) => ((bits[token >> 5]! >>> (token & 31)) & 1) === 1;
  if (allows(wanted)) return wanted;
  return Array.from({ length: FAKE_VOCAB }, (_, token) => token).find(allows)!;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    if (ms > 0)
      setTimeout(resolve, ms).unref(); // a test that has ended waits for no answer
    else setImmediate(resolve);
  });
}

function tokenLogprob(
  token: number,
  alternatives: number,
  logprobOf = (_token: number) => -0.25,
): TokenLogprob {
  const top = Array.from({ length: alternatives }, (_, i) => ({
    token: (token + i) % FAKE_VOCAB,
    logprob: -0.25 * (i + 1),
  }));
  return { token, logprob: logprobOf(token), top };
}

function fakeText(ids: readonly number[]): string {
  return Buffer.from(ids.filter((id) => id < 256)).toString("utf8");
}

function fakeSpecial(id: number): string {
  return `<|${id}|>`;
}

const tokenizer: Tokenizer = {
  vocabSize: FAKE_VOCAB,
  maxBytesPerToken: 1,
  encode: async (text, { addSpecialTokens = false } = {}) =>
    addSpecialTokens ? [FAKE_BOS, ...fakeTokens(text)] : fakeTokens(text),
  decode: fakeText,
  *decoding(ids) {
    yield;
    return fakeText(ids);
  },
  tokenBytes: (id) => (id < 256 ? Uint8Array.of(id) : Buffer.from(fakeSpecial(id))),
  tokenText: (id) => (id < 128 ? String.fromCharCode(id) : id < 256 ? null : fakeSpecial(id)),
  isSpecial: (id) => id >= 256,
};

/** Experts count up, scores down from 1. */
function fakeRoutes({ routes }: GenerateRequest): Routes | null {
  if (routes === null) return null;
  return {
    experts: Int32Array.from({ length: routes.pairs }, (_, i) => i),
    scores: Float32Array.from({ length: routes.pairs }, (_, i) => 1 / (1 + i)),
  };
}

function byteDecoder(): IncrementalDecoder {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    push: (id) => (id < 256 ? decoder.decode(Uint8Array.of(id), { stream: true }) : ""),
    flush: () => decoder.decode(),
  };
}

const chatTemplate: ChatTemplate = {
  toolFormat: null,
  render: async (messages, { addGenerationPrompt }) => {
    const text = messages.map(({ role, content }) => `<${role}>${content}\n`).join("");
    return addGenerationPrompt ? `${text}<assistant>` : text;
  },
};

const base: ServedModel = {
  name: "fake",
  adapter: 0,
  parent: null,
  root: "/models/fake.gguf",
  created: 1_700_000_000,
  info: null,
  card: null,
};

/** Nothing can be loaded: the fake model's adapters are names alone. */
const fixedAdapters: AdapterControl = {
  adapters: () => [],
  loads: () => [],
  loading: () => undefined,
  running: () => 0,
  routing: () => ({ total: [], linears: [] }),
  place: () => ({ resident: false, residentBytes: 0, hits: 0, misses: 0, fault: "" }),
  allowedPath: async () => {
    throw new ApiError("adapter_path_not_allowed", { param: "lora_path" });
  },
  load: async () => {
    throw new ApiError("invalid_adapter");
  },
  unload: async () => {
    throw new ApiError("adapter_not_found", { param: "lora_name" });
  },
};

/** The base and an adapter of every name given, in front of `generator`. */
export function fakeContext(
  generator: Generator,
  overrides: Partial<ApiContext> = {},
  adapters: readonly string[] = ["tuned"],
): ApiContext {
  const models = [
    base,
    ...adapters.map((name, i) => ({
      ...base,
      name,
      adapter: i + 1,
      parent: base.name,
      info: fakeAdapterInfo(i + 1),
      card: NO_CARD,
    })),
  ];
  return {
    models: {
      base,
      find: (name) => models.find((model) => model.name === name),
      list: () => models,
    },
    adapters: fixedAdapters,
    generator,
    sampledRouting: () => null,
    adapterWaitMs: 1000,
    maxModelLen: 512,
    vocab: FAKE_VOCAB,
    width: 3,
    layers: 2,
    stopTokens: new Set([FAKE_EOS]),
    tokenizer,
    noTokenizerReason: null,
    decoder: byteDecoder,
    chatTemplate,
    grammars: null,
    encoder: null,
    router: null,
    ...overrides,
  };
}

/** The same model as it is served from a folder without a tokenizer. */
export function fakeContextWithoutText(generator: Generator): ApiContext {
  return fakeContext(generator, {
    tokenizer: null,
    noTokenizerReason: "the model folder has no tokenizer.json",
    decoder: () => ({ push: () => "", flush: () => "" }),
    chatTemplate: null,
  });
}
