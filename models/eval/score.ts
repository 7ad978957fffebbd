// Asks a server and counts right answers.

import type { Case, Message, Task } from "./tasks.js";

/** Who answers a task: a model, and what it is told first. */
export interface Contestant {
  readonly label: string;
  readonly model: string;
  readonly opening: readonly Message[];
}

export interface Job {
  readonly task: Task;
  readonly contestant: Contestant;
  readonly case: Case;
}

export interface Answered extends Job {
  readonly answer: string;
  readonly right: boolean;
}

/** Cases of all tasks in turn, each by all its contestants, so that every batch of the server is a mix. */
export function mixedJobs(entries: ReadonlyMap<Task, readonly Contestant[]>): Job[] {
  const most = Math.max(...[...entries.keys()].map(({ cases }) => cases.length));
  return Array.from({ length: most }, (_, index) =>
    [...entries].flatMap(([task, contestants]) => {
      const item = task.cases[index];
      return item ? contestants.map((contestant) => ({ task, contestant, case: item })) : [];
    }),
  ).flat();
}

/** Runs `work` on every item, `concurrency` at a time; results in the order of the items. */
export async function inTurn<T, R>(
  items: readonly T[],
  concurrency: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return results;
}

/** Lines of the table: per task the cases and each contestant's share of right answers. */
export function table(answers: readonly Answered[]): string {
  const labels = [...new Set(answers.map(({ contestant }) => contestant.label))];
  const tasks = [...new Set(answers.map(({ task }) => task))];
  const rows = tasks.map((task) => [
    task.name,
    String(task.cases.length),
    ...labels.map((label) => {
      const own = answers.filter((a) => a.task === task && a.contestant.label === label);
      const right = own.filter((a) => a.right).length;
      return `${((100 * right) / own.length).toFixed(1)}%`;
    }),
  ]);
  const all = [["task", "cases", ...labels], ...rows];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  return all
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
        .join("  "),
    )
    .join("\n");
}
