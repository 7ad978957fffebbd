import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

const MOST_LINES = 500;

/** Where lines typed earlier are kept, by the rules of the XDG base directories. */
export function historyFile(environment: Readonly<Record<string, string | undefined>>): string {
  const state = environment.XDG_STATE_HOME || join(homedir(), ".local", "state");
  return join(state, "smore", "chat-history");
}

/** Newest first, as readline has them; none where there is no file yet. */
export function readHistory(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\n").filter(Boolean).reverse();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** For the user's eyes alone: what people ask models is private. */
export function writeHistory(file: string, newestFirst: readonly string[]): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const lines = newestFirst.slice(0, MOST_LINES).reverse();
  writeFileSync(file, lines.map((line) => `${line}\n`).join(""), { mode: 0o600 });
}
