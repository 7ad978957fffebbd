// npm run eval -- --auto: how often `model: "auto"` chooses the adapter of a task's held-out case, and none for what is no
// adapter's task.

import { readFile } from "node:fs/promises";
import { inTurn } from "./score.js";
import { type Case, FILES, type Message, readTasks } from "./tasks.js";

/** Asks which adapter answers; null: the base does. */
export type Choose = (messages: readonly Message[]) => Promise<string | null>;

/** Prompts and what is right for them. */
export interface Group {
  readonly name: string;
  readonly wanted: string | null;
  readonly cases: readonly Pick<Case, "messages">[];
}

/** Held-out cases of tasks that no served adapter is for are to be left to the base, as unrelated prompts are. */
export async function groups(
  served: readonly string[],
  all: readonly string[],
  limit?: number,
): Promise<Group[]> {
  const tasks = await readTasks(all, limit);
  const own = tasks.map(({ name, cases }) => {
    return { name, wanted: served.includes(name) ? name : null, cases };
  });
  const text = await readFile(new URL("unrelated.jsonl", FILES), "utf8");
  const unrelated = text.trimEnd().split("\n").slice(0, limit);
  return [
    ...own,
    { name: "unrelated", wanted: null, cases: unrelated.map((line) => JSON.parse(line)) },
  ];
}

export interface Row {
  readonly group: string;
  readonly wanted: string;
  readonly cases: number;
  readonly right: number;
  /** Choices that were wrong, by name. */
  readonly wrong: ReadonlyMap<string, number>;
}

export async function judge(
  asked: readonly Group[],
  concurrency: number,
  choose: Choose,
): Promise<Row[]> {
  const jobs = asked.flatMap((group) => group.cases.map(({ messages }) => ({ group, messages })));
  const choices = await inTurn(jobs, concurrency, ({ messages }) => choose(messages));
  return asked.map((group) => {
    const own = choices.filter((_, index) => jobs[index]!.group === group);
    const wrong = new Map<string, number>();
    for (const adapter of own) {
      if (adapter === group.wanted) continue;
      const name = adapter ?? "none";
      wrong.set(name, (wrong.get(name) ?? 0) + 1);
    }
    const errors = [...wrong.values()].reduce((sum, count) => sum + count, 0);
    const wanted = group.wanted ?? "none";
    return { group: group.name, wanted, cases: own.length, right: own.length - errors, wrong };
  });
}

/** Lines of the table. */
export function autoTable(rows: readonly Row[]): string {
  const cells = rows.map(({ group, wanted, cases, right, wrong }) => [
    group,
    wanted,
    String(cases),
    `${((100 * right) / cases).toFixed(1)}%`,
    [...wrong].map(([name, count]) => `${name} ${count}`).join(", "),
  ]);
  const all = [["prompts of", "wanted", "cases", "right", "chosen instead"], ...cells];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  return all
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
