// Asks a server and counts right answers.

import type { Case, Message, Task } from "./tasks.js";

/** Who answers a task: a model, and what it is told first. */
export interface Contestant {
  readonly label: string;
  readonly model: string;
  readonly opening: readonly Message[];
  /** How the routers of the model's adapter are bound; absent: not at all. */
  readonly router?: object;
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

/** Per task the number of cases, and each contestant's share of right answers, by its label. */
export type Shares = Readonly<Record<string, Readonly<Record<string, number>>>>;

export function shares(answers: readonly Answered[]): Shares {
  const tasks = [...new Set(answers.map(({ task }) => task))];
  return Object.fromEntries(
    tasks.map((task) => {
      const own = answers.filter((answered) => answered.task === task);
      const labels = [...new Set(own.map(({ contestant }) => contestant.label))];
      const share = (label: string) => {
        const by = own.filter(({ contestant }) => contestant.label === label);
        return by.filter(({ right }) => right).length / by.length;
      };
      const scores = Object.fromEntries(labels.map((label) => [label, share(label)]));
      return [task.name, { cases: task.cases.length, ...scores }];
    }),
  );
}

/** Lines of the table: a row for each task. */
export function table(answers: readonly Answered[]): string {
  const rows = Object.entries(shares(answers)).map(([name, { cases, ...scores }]) => [
    name,
    String(cases),
    ...Object.values(scores).map((share) => `${(100 * share).toFixed(1)}%`),
  ]);
  const labels = [...new Set(answers.map(({ contestant }) => contestant.label))];
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
