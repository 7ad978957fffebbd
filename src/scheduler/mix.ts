/** An expert that takes part in no node of its level; levels count from the leaves. */
export interface Ban {
  readonly level: number;
  readonly expert: number;
}

/** How a sequence goes through one adapter. */
export interface MixedAdapter {
  readonly handle: number; // the adapter's generation
  readonly scale: number; // what its delta is multiplied by: a float32 other than 0
  readonly temperature: number; // of its routers, a float32; 1 = as trained
  readonly bans: readonly Ban[]; // by level and expert, each once
}

/** The adapters whose deltas add up in this order, each once; none = the base alone. */
export type Mix = readonly MixedAdapter[];

export const BASE: Mix = [];

/** One adapter as it was trained; 0 = the base. */
export function mixOf(handle: number): Mix {
  return handle === 0 ? BASE : [{ handle, scale: 1, temperature: 1, bans: [] }];
}

export function handlesOf(mix: Mix): number[] {
  return mix.map(({ handle }) => handle);
}

/** Says all that keys and values of a sequence depend on beside its tokens: equal texts, equal mixes. */
export function mixKey(mix: Mix): string {
  return mix.map(adapterKey).join("+");
}

function adapterKey({ handle, scale, temperature, bans }: MixedAdapter): string {
  const banned = bans.map(({ level, expert }) => `${level}.${expert}`).join();
  return `${handle}*${scale}/${temperature}/${banned}`;
}

/** Routing that is wanted with each sampled token. */
export interface RouteWish {
  readonly layers: readonly number[]; // rising
  readonly pairs: number; // of experts and scores, for one token
}

/** Where the row that sampled a token went: in the order of route_expert in addon/engine/step.h. */
export interface Routes {
  readonly experts: Int32Array;
  readonly scores: Float32Array;
}
