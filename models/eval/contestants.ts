// Who answers a task's cases.

import type { Contestant } from "./score.js";
import type { Task } from "./tasks.js";

/** Of an adapter's trees, from the leaves up: how many experts a level has, and how many a node chooses. */
export type Levels = readonly { readonly experts: number; readonly active: number }[];

export type LevelsByName = ReadonlyMap<string, Levels>;

export interface Scored {
  readonly base: string;
  /** The adapter for all tasks, where there is one. */
  readonly mixed: string | undefined;
}

/** The base, alone and told what to do, the task's adapter, and the one for all tasks. */
export function contestants(
  { name, instruction }: Task,
  { base, mixed }: Scored,
  levels: LevelsByName,
): Contestant[] {
  const own = ["adapter", "one sub-tree"] as const;
  const forAll = ["mixed", "mixed, one sub-tree"] as const;
  return [
    { label: "base", model: base, opening: [] },
    { label: "base, told", model: base, opening: [{ role: "system", content: instruction }] },
    ...withAndWithoutRouting(own, name, levels.get(name)),
    ...(mixed === undefined ? [] : withAndWithoutRouting(forAll, mixed, levels.get(mixed))),
  ];
}

/** An adapter as it was trained, and with all tokens routed to one sub-tree. */
function withAndWithoutRouting(
  [label, frozen]: readonly [string, string],
  model: string,
  levels: Levels = [],
): Contestant[] {
  return [
    { label, model, opening: [] },
    { label: frozen, model, opening: [], router: oneSubTree(levels) },
  ];
}

/** Every node takes its first experts, whatever the token is. */
function oneSubTree(levels: Levels) {
  const force = levels.map(({ active }, level) => ({
    level,
    experts: Array.from({ length: active }, (_, expert) => expert),
  }));
  return { force };
}
