import { readFileSync } from "node:fs";
import type { Trace } from "../../metrics/consistency.js";
import { CommandError } from "../command.js";

/** What answers with `return_routing` tell of an adapter's routing, gathered by linear and level. */

interface Choices {
  readonly experts: readonly number[];
}

interface ToldAdapter {
  readonly name: string;
  readonly levels: readonly { readonly experts: number; readonly active: number }[]; // leaves first
  readonly linears: readonly { readonly layer: number; readonly name: string }[];
}

interface ToldRouting {
  readonly adapters: readonly ToldAdapter[];
  readonly tokens: readonly {
    readonly routes: readonly (readonly (readonly Choices[])[])[]; // by adapter, linear, level
  }[];
}

interface Answer {
  readonly choices?: readonly { readonly routing?: ToldRouting }[];
}

/** One level of one adapted linear. */
export interface Place {
  readonly layer: number;
  readonly linear: string;
  readonly level: number; // 0 = leaves
  readonly experts: number;
  /** How often each expert was chosen. */
  readonly counts: readonly number[];
  /** One for each answer. */
  readonly traces: readonly Trace[];
}

export interface Survey {
  readonly adapter: string;
  readonly answers: number;
  readonly tokens: number;
  readonly levels: number;
  readonly places: readonly Place[];
}

/** Reads answers as a server gave them: one JSON object, or one in every line. Throws CommandError. */
export function readRouting(path: string): Survey[] {
  const text = readFileSync(path, "utf8");
  const told = parseAnswers(path, text).flatMap(({ choices = [] }) =>
    choices.flatMap(({ routing }) => (routing ? [routing] : [])),
  );
  const names = [...new Set(told.flatMap(({ adapters }) => adapters.map(({ name }) => name)))];
  const surveys = names.map((name) => survey(name, told)).filter(({ levels }) => levels > 0);
  if (surveys.length > 0) return surveys;
  throw new CommandError(
    `${path} tells of no routing; ask an adapter with experts with "return_routing": true`,
  );
}

function parseAnswers(path: string, text: string): Answer[] {
  try {
    return [JSON.parse(text) as Answer];
  } catch {
    return text
      .split("\n")
      .map((line, index) => ({ line, number: index + 1 }))
      .filter(({ line }) => line.trim() !== "")
      .map(({ line, number }) => {
        try {
          return JSON.parse(line) as Answer;
        } catch (error) {
          throw new CommandError(
            `${path}, line ${number}: is not JSON (${(error as Error).message})`,
          );
        }
      });
  }
}

function survey(name: string, told: readonly ToldRouting[]): Survey {
  const own = told.flatMap(({ adapters, tokens }) => {
    const index = adapters.findIndex((adapter) => adapter.name === name);
    const adapter = adapters[index];
    return adapter ? [{ adapter, routes: tokens.map(({ routes }) => routes[index] ?? []) }] : [];
  });
  const { levels, linears } = own[0]!.adapter;
  const places = linears.flatMap(({ layer, name: linear }, at) =>
    levels.map(({ experts }, level): Place => {
      const chosen = own.map(({ routes }) => routes.map((route) => route[at]?.[level]?.experts));
      const counts = new Array<number>(experts).fill(0);
      for (const expert of chosen.flat(2)) if (expert !== undefined) counts[expert]! += 1;
      const traces = chosen.map((tokens) => tokens.map((ids) => [...new Set(ids)]));
      return { layer, linear, level, experts, counts, traces };
    }),
  );
  const tokens = own.reduce((sum, { routes }) => sum + routes.length, 0);
  return { adapter: name, answers: own.length, tokens, levels: levels.length, places };
}
