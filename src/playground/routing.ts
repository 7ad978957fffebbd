/** The routing of an answer: which experts each token took, as `return_routing` tells it. */

export interface RoutedLevel {
  readonly experts: number;
  /** Chosen below each node. */
  readonly active: number;
}

export interface RoutedLinear {
  readonly layer: number;
  readonly name: string;
}

export interface RoutedAdapter {
  readonly name: string;
  readonly scale: number;
  readonly levels: readonly RoutedLevel[]; // leaves first; none for plain LoRA
  readonly linears: readonly RoutedLinear[];
}

/** The chosen experts of a level: entry p is a child of entry floor(p / active) of the level above. */
export interface Choices {
  readonly experts: readonly number[];
  readonly scores: readonly number[];
}

export interface RoutedToken {
  readonly id: number;
  /** By adapter, linear and level. */
  readonly routes: readonly (readonly (readonly Choices[])[])[];
}

/** What a chunk carries: the first one tells what the others mean. */
export interface RoutingFields {
  readonly adapters?: readonly RoutedAdapter[];
  readonly tokens: readonly RoutedToken[];
}

/** A chosen expert of one token. `parent`: the place of its parent's entry in the level above; null at the root. */
export interface PathNode {
  readonly expert: number;
  readonly score: number;
  readonly parent: number | null;
}

/** One token's sub-tree in one linear, root level first. */
export interface SubTree {
  readonly levels: readonly {
    /** As the adapter numbers it: 0 = leaves. */
    readonly level: number;
    readonly experts: number;
    readonly nodes: readonly PathNode[];
  }[];
}

/** How much of an answer went to each expert, for one kind of linear. */
export interface Heat {
  readonly layers: readonly number[];
  /** Root level first; `shares[layer][expert]` adds up to 1 over the experts of a layer. */
  readonly levels: readonly {
    readonly level: number;
    readonly shares: readonly (readonly number[])[];
  }[];
}

/** Grows with the stream. */
export class Routing {
  #adapters: readonly RoutedAdapter[] = [];
  readonly #tokens: RoutedToken[] = [];

  add({ adapters, tokens }: RoutingFields): void {
    this.#adapters = adapters ?? this.#adapters;
    this.#tokens.push(...tokens);
  }

  /** The adapter whose experts were chosen between; undefined for the base and for plain LoRA. */
  get adapter(): RoutedAdapter | undefined {
    return this.#adapters.find(({ levels, linears }) => levels.length > 0 && linears.length > 0);
  }

  get tokens(): readonly RoutedToken[] {
    return this.#tokens;
  }

  /** Null where that token has none. */
  subTree(token: number, linear: number): SubTree | null {
    const adapter = this.adapter;
    const route = this.#route(token, linear);
    if (adapter === undefined || route === undefined) return null;
    const levels = route.map(({ experts, scores }, level) => ({
      level,
      experts: adapter.levels[level]!.experts,
      nodes: experts.map((expert, entry) => ({
        expert,
        score: scores[entry]!,
        parent:
          level + 1 === route.length ? null : Math.floor(entry / adapter.levels[level]!.active),
      })),
    }));
    return { levels: levels.reverse() };
  }

  /** Over the tokens so far and all linears called `name`. */
  heat(name: string): Heat {
    const adapter = this.adapter!;
    const linears = adapter.linears.flatMap((linear, place) =>
      linear.name === name ? [{ layer: linear.layer, place }] : [],
    );
    const levels = adapter.levels.map(({ experts }, level) => ({
      level,
      shares: linears.map(({ place }) => this.#shares(place, level, experts)),
    }));
    return { layers: linears.map(({ layer }) => layer), levels: levels.reverse() };
  }

  #shares(linear: number, level: number, experts: number): number[] {
    const counts = new Array<number>(experts).fill(0);
    let all = 0;
    for (let token = 0; token < this.#tokens.length; token++) {
      for (const expert of this.#route(token, linear)?.[level]?.experts ?? []) {
        counts[expert]!++;
        all++;
      }
    }
    return counts.map((count) => (all === 0 ? 0 : count / all));
  }

  #route(token: number, linear: number): readonly Choices[] | undefined {
    const { adapter } = this;
    if (adapter === undefined) return undefined;
    return this.#tokens[token]?.routes[this.#adapters.indexOf(adapter)]?.[linear];
  }
}
