import { spawnSync } from "node:child_process";
import { availableParallelism, cpus } from "node:os";

export interface Circumstances {
  readonly date: string;
  readonly commit: string | null; // null: not in a git repository
  readonly cpu: string;
  readonly cpus: number;
}

/** What a reader of figures must know to repeat them. */
export function circumstances(): Circumstances {
  const git = spawnSync("git", ["-C", import.meta.dirname, "describe", "--always", "--dirty"], {
    encoding: "utf8",
  });
  return {
    date: new Date().toISOString(),
    commit: git.status === 0 ? git.stdout.trim() : null,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cpus: availableParallelism(),
  };
}
