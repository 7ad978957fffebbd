import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import type { TestContext } from "node:test";

/** A program at a terminal, as people run it: python's pty is what makes one. */

const SPAWN = `
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
`;

/** Why there are no pseudo terminals here; false when there are. */
export function noTerminals(): string | false {
  const found = spawnSync("python3", ["-c", "import pty"]).status === 0;
  return found ? false : "python3 is not installed (Debian: apt-get install python3)";
}

export class PseudoTerminal {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #closed: Promise<unknown[]>;
  #shown = "";
  #changed = () => {};

  constructor(
    test: TestContext,
    command: readonly string[],
    options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
  ) {
    const { cwd, env } = options;
    this.#child = spawn("python3", ["-c", SPAWN, ...command], {
      ...(cwd === undefined ? {} : { cwd }),
      env: { ...process.env, TERM: "xterm", COLUMNS: "200", ...env },
    });
    test.after(() => this.#child.kill("SIGKILL"));
    this.#closed = once(this.#child, "close");
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#shown += text;
      this.#changed();
    });
  }

  type(keys: string): this {
    this.#child.stdin.write(keys);
    return this;
  }

  /** Waits for what matches, and takes all that was shown up to its end. */
  async shows(pattern: RegExp): Promise<string> {
    const late = setTimeout(() => this.#changed(), 20_000);
    const deadline = performance.now() + 20_000;
    try {
      for (;;) {
        const match = pattern.exec(this.#shown);
        if (match !== null) {
          const end = match.index + match[0].length;
          const taken = this.#shown.slice(0, end);
          this.#shown = this.#shown.slice(end);
          return taken;
        }
        assert.ok(
          performance.now() < deadline,
          `${pattern} is not in ${JSON.stringify(this.#shown)}`,
        );
        await new Promise<void>((resolve) => {
          this.#changed = resolve;
        });
      }
    } finally {
      clearTimeout(late);
    }
  }

  /** The exit code, once the program has ended. */
  async exit(): Promise<number> {
    const [code] = await this.#closed;
    return code as number;
  }
}

/** Keys as a terminal sends them. */
export const CTRL_C = "\u0003";
export const CTRL_D = "\u0004";
export const CTRL_U = "\u0015"; // forgets the line
export const UP = "\u001b[A";
