// Asks check.py whether answers are right: the one place that knows, for training and for this.

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { type Case, FILES } from "./tasks.js";

interface Waiting {
  resolve(right: boolean): void;
  reject(error: Error): void;
}

export class Checker {
  readonly #child: ChildProcess;
  readonly #waiting: Waiting[] = [];
  #failure: Error | undefined;

  constructor() {
    this.#child = spawn("python3", [new URL("check.py", FILES).pathname], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    createInterface({ input: this.#child.stdout! }).on("line", (line) =>
      this.#waiting.shift()?.resolve(line === "true"),
    );
    this.#child.on("error", (error) => this.#fail(new Error(`python3: ${error.message}`)));
    this.#child.on("exit", (code) => this.#fail(new Error(`check.py ended with code ${code}`)));
    this.#child.stdin!.on("error", () => {}); // the exit says why
  }

  right(check: string, testCase: Case, answer: string): Promise<boolean> {
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#child.stdin!.write(`${JSON.stringify({ check, case: testCase, answer })}\n`);
    });
  }

  close(): void {
    this.#child.removeAllListeners("exit");
    this.#child.stdin!.end();
  }

  #fail(error: Error): void {
    this.#failure = error;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}
