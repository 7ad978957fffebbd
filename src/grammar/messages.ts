import type { Vocabulary } from "./vocabulary.js";

/** What the server and a grammar worker say to each other. Every request gets its answer, in order. */

export interface WorkerData {
  readonly vocabulary: Vocabulary;
  /** The session or compilation (-1) that the worker is busy with; 0 = none. */
  readonly busyWith: Int32Array;
}

export const COMPILING = -1;

export type Request =
  | { readonly kind: "compile"; readonly grammar: string }
  | {
      readonly kind: "open";
      readonly session: number;
      readonly grammar: string;
      readonly mask: Uint32Array; // shared
      /** Taken before, by a worker that is no more. */
      readonly tokens: readonly number[];
    }
  | {
      readonly kind: "accept";
      readonly sessions: readonly number[];
      readonly tokens: readonly number[];
    }
  | { readonly kind: "close"; readonly session: number };

export type Answer =
  | { readonly kind: "compiled" }
  /** The worker is of no more use. */
  | { readonly kind: "rejected"; readonly reason: string }
  | { readonly kind: "masks"; readonly masks: readonly MaskResult[] }
  | { readonly kind: "closed" };

export interface MaskResult {
  readonly session: number;
  readonly failure: string | null;
}
