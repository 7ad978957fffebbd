import type { ServedAdapter } from "../api/context.js";
import type { NativeAdapterInfo } from "../engine/native.js";
import type { AdapterFollower } from "../models/adapters.js";
import type { Routes, RouteWish } from "../scheduler/mix.js";
import type {
  GenerateRequest,
  Generation,
  Generator as TokenGenerator,
} from "../scheduler/request.js";
import type { Trace } from "./consistency.js";

/**
 * Where the tokens of some generations went, so that a running server can tell how consistent its adapters' routing is
 * over neighbouring tokens. What the engine counts does not say which tokens were neighbours.
 */

/** Of the generations through an adapter, the first and then one in so many is looked at. */
const ONE_IN = 16;
/** Generations that are looked at at a time: their routing takes room in steps. */
const MOST_RUNNING = 2;
/** Kept of an adapter; what is older goes. */
const MOST_BYTES = 1 << 20;
/** Adapters that are kept; the one not looked at for longest goes. */
const MOST_ADAPTERS = 16;
/** Chosen experts of a token. Of a larger adapter only some layers are looked at, evenly spread. */
const MOST_PAIRS = 1024;

/** Chosen experts of one token: of each linear, for each level from the leaves up. */
type Chosen = Int16Array;

interface Kept {
  readonly shape: Shape;
  generations: (readonly Chosen[])[];
}

/** What is looked at of an adapter. */
interface Shape {
  readonly info: NativeAdapterInfo;
  readonly wish: RouteWish;
  readonly linears: number;
  /** Pairs of each level of a linear. */
  readonly pairs: readonly number[];
}

export interface SampledRouting {
  readonly generations: number;
  readonly tokens: number;
  readonly layers: readonly number[];
  /** Of one level, by linear: a trace for each generation. A step of work at each pause. */
  traces(level: number): Generator<void, readonly (readonly Trace[])[]>;
}

export class RoutingSample implements AdapterFollower {
  readonly #kept = new Map<number, Kept>(); // by handle, the one not looked at for longest first
  /** Generations through each adapter, also through those that are not kept. */
  readonly #seen = new Map<number, number>();
  readonly #infoOf: (handle: number) => NativeAdapterInfo | undefined;
  #running = 0;

  constructor(infoOf: (handle: number) => NativeAdapterInfo | undefined) {
    this.#infoOf = infoOf;
  }

  /**
   * The same, some of whose generations are looked at; of a `device` with memory of its own none, as each of their
   * tokens would keep it waiting.
   */
  follow(generator: TokenGenerator, device: string): TokenGenerator {
    if (device !== "cpu") return generator;
    return {
      reserve: (...needs) => generator.reserve(...needs),
      submit: (request) => this.#submit(request, generator),
    };
  }

  /** Null where nothing of the adapter was looked at. */
  of(handle: number): SampledRouting | null {
    const kept = this.#kept.get(handle);
    if (kept === undefined || kept.generations.length === 0) return null;
    const { shape } = kept;
    const generations = [...kept.generations]; // while traces are made, others come and go
    return {
      generations: generations.length,
      tokens: generations.reduce((sum, tokens) => sum + tokens.length, 0),
      layers: shape.wish.layers,
      traces: (level) => tracesOf(level, shape, generations),
    };
  }

  served(): void {}

  retired({ adapter }: ServedAdapter): void {
    this.#kept.delete(adapter);
    this.#seen.delete(adapter);
  }

  #submit(request: GenerateRequest, generator: TokenGenerator): Generation {
    const kept = this.#turnOf(request);
    if (kept === null) return generator.submit(request);
    const tokens: Chosen[] = [];
    let running = true;
    const end = () => {
      if (!running) return;
      running = false;
      this.#running -= 1;
      keep(kept, tokens);
    };
    const most = MOST_BYTES / (kept.shape.wish.pairs * Int16Array.BYTES_PER_ELEMENT);
    const look = (routes: Routes | null) => {
      if (routes !== null && tokens.length < most) tokens.push(Int16Array.from(routes.experts));
    };
    const generation = generator.submit({
      ...request,
      routes: kept.shape.wish,
      onEvent: (event) => {
        if (event.kind === "token" || event.kind === "finish") look(event.routes);
        if (event.kind === "finish" || event.kind === "error") end();
        const silent = event.kind === "token" || event.kind === "finish" ? { routes: null } : {};
        request.onEvent({ ...event, ...silent });
      },
    });
    this.#running += 1;
    return {
      get cachedTokens() {
        return generation.cachedTokens;
      },
      cancel: (reason) => {
        end();
        generation.cancel(reason);
      },
    };
  }

  /** Null where this request is not to be looked at. */
  #turnOf({ routes, mix, maxTokens }: GenerateRequest): Kept | null {
    const [adapter, second] = mix;
    if (routes !== null || maxTokens === 0 || adapter === undefined || second !== undefined) {
      return null;
    }
    const { handle, bans, temperature } = adapter;
    if (bans.length > 0 || temperature !== 1) return null;
    const info = this.#infoOf(handle);
    if (info === undefined || info.tree.length === 0) return null;
    const seen = this.#seen.get(handle) ?? 0;
    this.#seen.set(handle, seen + 1);
    if (seen % ONE_IN !== 0 || this.#running >= MOST_RUNNING) return null;
    const kept = this.#kept.get(handle) ?? { shape: shapeOf(info), generations: [] };
    this.#kept.delete(handle);
    this.#kept.set(handle, kept);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > MOST_ADAPTERS) this.#kept.delete(oldest!);
    return kept;
  }
}

function shapeOf(info: NativeAdapterInfo): Shape {
  const pairs = info.tree.map((_, level) =>
    info.tree.slice(level).reduce((product, { active }) => product * active, 1),
  );
  const perLinear = pairs.reduce((sum, count) => sum + count, 0);
  const all = [...new Set(info.linears.map(({ layer }) => layer))];
  const step = Math.ceil((info.linears.length * perLinear) / MOST_PAIRS);
  const layers = all.filter((_, i) => i % step === 0);
  const linears = info.linears.filter(({ layer }) => layers.includes(layer)).length;
  return { info, wish: { layers, pairs: linears * perLinear }, linears, pairs };
}

function keep(kept: Kept, tokens: readonly Chosen[]): void {
  if (tokens.length === 0) return;
  kept.generations.push(tokens);
  const bytes = () =>
    kept.generations.reduce((sum, own) => sum + own.length * own[0]!.byteLength, 0);
  while (kept.generations.length > 1 && bytes() > MOST_BYTES) kept.generations.shift();
}

function* tracesOf(
  level: number,
  shape: Shape,
  generations: Kept["generations"],
): Generator<void, Trace[][]> {
  const perLinear = shape.pairs.reduce((sum, count) => sum + count, 0);
  const before = shape.pairs.slice(0, level).reduce((sum, count) => sum + count, 0);
  const linears: Trace[][] = [];
  for (let linear = 0; linear < shape.linears; linear++) {
    const from = linear * perLinear + before;
    const chosen = (token: Chosen) => [
      ...new Set(token.subarray(from, from + shape.pairs[level]!)),
    ];
    const traces: Trace[] = [];
    for (const tokens of generations) {
      traces.push(tokens.map(chosen));
      yield;
    }
    linears.push(traces);
  }
  return linears;
}
