import { LazyList } from "../json/write.js";
import type { Routes } from "../scheduler/mix.js";
import { type Mixing, pairsPerLevel, routedLinears } from "./mixing.js";

/** The field `routing` of the choices of a request, as JSON text. */

/** Writes what is told of each token. */
export class RouteEntries {
  /** For each adapter, how many linears it has and how its levels divide a linear's pairs. */
  readonly #shapes: readonly { readonly linears: number; readonly pairs: readonly number[] }[];

  constructor({ adapters, order }: Mixing) {
    this.#shapes = adapters.map(({ info }) => ({
      linears: routedLinears(info, order.layers ?? []).length,
      pairs: pairsPerLevel(info.tree),
    }));
  }

  entry(token: number, { experts, scores }: Routes): string {
    let at = 0;
    const level = (pairs: number) => {
      const [from, to] = [at, at + pairs];
      at = to;
      const rounded = Array.from(
        scores.subarray(from, to),
        (score) => Math.round(score * 1e6) / 1e6,
      );
      return `{"experts":[${experts.subarray(from, to).join()}],"scores":[${rounded.join()}]}`;
    };
    const adapters = this.#shapes.map(({ linears, pairs }) => {
      const trees = Array.from({ length: linears }, () => `[${pairs.map(level).join()}]`);
      return `[${trees.join()}]`;
    });
    return `{"id":${token},"routes":[${adapters.join()}]}`;
  }
}

/** Writes the field. */
export class RoutingFields {
  readonly #wanted: boolean;
  /** What describes a choice. */
  readonly #head: { readonly layers: readonly number[]; readonly adapters: readonly object[] };
  readonly #told = new Set<number>(); // choices that had a chunk with it

  constructor({ mix, adapters, order: { layers } }: Mixing) {
    this.#wanted = layers !== null;
    const described = adapters.map(({ name, info }, i) => ({
      name,
      scale: mix[i]!.scale,
      levels: info.tree,
      linears: routedLinears(info, layers ?? []),
    }));
    this.#head = { layers: layers ?? [], adapters: described };
  }

  /** Of a chunk, with the comma before it. What describes the choice comes once. */
  chunk(choice: number, entries: readonly string[]): string {
    if (entries.length === 0) return "";
    const head = this.#told.has(choice) ? "" : `${JSON.stringify(this.#head).slice(1, -1)},`;
    this.#told.add(choice);
    return `,"routing":{${head}"tokens":[${entries.join()}]}`;
  }

  /** Of a whole choice, to be written by src/json. */
  whole(entries: readonly string[]): object {
    if (!this.#wanted) return {};
    return { routing: { ...this.#head, tokens: new LazyList(entries.length, (i) => entries[i]!) } };
  }
}
