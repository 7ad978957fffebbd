// The tasks and their held-out cases, as models/train writes them.

import { readFile } from "node:fs/promises";

export const FILES = new URL("../../../models/eval/", import.meta.url); // from dist/models/eval

export interface Message {
  readonly role: string;
  readonly content: string;
}

/** Some checks need more of a case than `expected`; check.py reads it. */
export interface Case {
  readonly messages: readonly Message[];
  readonly expected: string;
}

export interface Task {
  readonly name: string;
  readonly check: string;
  /** What the base is told in a system message when it is scored with help. */
  readonly instruction: string;
  readonly cases: readonly Case[];
}

type Index = Readonly<Record<string, { readonly check: string; readonly instruction: string }>>;

/** The named tasks, each with its first `limit` cases. An adapter's name is its task's. */
export async function readTasks(names: readonly string[], limit?: number): Promise<Task[]> {
  const index = JSON.parse(await readFile(new URL("tasks.json", FILES), "utf8")) as Index;
  return Promise.all(
    names.map(async (name) => {
      const entry = index[name];
      if (!entry) {
        throw new Error(`there is no task ${name}; tasks are ${Object.keys(index).join(", ")}`);
      }
      const text = await readFile(new URL(`${name}.jsonl`, FILES), "utf8");
      const cases = text
        .trimEnd()
        .split("\n")
        .slice(0, limit)
        .map((line) => JSON.parse(line) as Case);
      return { name, ...entry, cases };
    }),
  );
}

export async function taskNames(): Promise<string[]> {
  return Object.keys(JSON.parse(await readFile(new URL("tasks.json", FILES), "utf8")) as Index);
}
