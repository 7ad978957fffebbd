import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { CommandError } from "../src/cli/command.js";
import { UsageError } from "../src/cli/options.js";

/** Programs that a tool runs. None outlives the tool. */

const READY_LIMIT_MS = 300_000;
const KEPT_OUTPUT = 4000;

/** A program and the arguments that come before all others. */
export type Program = readonly [file: string, ...prefix: string[]];

export const SMORE: Program = [
  process.execPath,
  fileURLToPath(new URL("../src/main.js", import.meta.url)),
];

const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) kill(child);
});

/** With its whole group: it may be a script around the real program. */
function kill(child: ChildProcess): void {
  try {
    process.kill(-child.pid!, "SIGKILL");
  } catch {
    // it ended by itself
  }
}

/** A program and its arguments, as messages name it. */
export function commandLine(program: Program, args: readonly string[]): string {
  return [...program, ...args].join(" ");
}

/** `timeout`: seconds after which it is ended; null = it may take as long as it likes. */
function start(program: Program, args: readonly string[], timeout: number | null) {
  const [file, ...prefix] = program;
  const child = spawn(file, [...prefix, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  running.add(child);
  let late = false;
  const end = () => {
    late = true;
    kill(child);
  };
  const timer = timeout === null ? undefined : globalThis.setTimeout(end, timeout * 1000);
  child.on("close", () => {
    running.delete(child);
    clearTimeout(timer);
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors = (errors + text).slice(-KEPT_OUTPUT);
  });
  const closed = once(child, "close") as Promise<[code: number | null]>;
  closed.catch(() => {}); // whoever waits for it is told
  const fault = (what: string) => {
    const command = commandLine(program, args);
    return late
      ? new UsageError(`${command}: had not ended after ${timeout} s (--timeout)`)
      : new CommandError(`${command}: ${what}\n${errors.trimEnd()}`);
  };
  return { child, closed, fault };
}

/** Runs a program to its end and gives its standard output. Throws CommandError, or UsageError after `timeout` seconds. */
export async function output(
  program: Program,
  args: readonly string[],
  timeout: number | null = null,
): Promise<string> {
  const { child, closed, fault } = start(program, args, timeout);
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  const [code] = await closed.catch((error: Error) => {
    throw fault(error.message);
  });
  if (code !== 0) throw fault(`exited with ${code}`);
  return text;
}

/**
 * Runs a server on a free port of the loopback, and `use` with its address once it is healthy. Where it ends before
 * `use` does, or is ended after `timeout` seconds, that is the fault.
 */
export async function withServer<Value>(
  program: Program,
  args: readonly string[],
  use: (url: string) => Promise<Value>,
  timeout: number | null = null,
): Promise<Value> {
  const port = await freePort();
  const place = ["--host", "127.0.0.1", "--port", String(port)];
  const { child, closed, fault } = start(program, [...args, ...place], timeout);
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  child.stdout.resume();
  const url = `http://127.0.0.1:${port}`;
  try {
    const deadline = performance.now() + READY_LIMIT_MS;
    while (!(await healthy(url))) {
      if (child.pid === undefined || ended()) throw fault("did not start");
      if (performance.now() > deadline) throw fault("was not healthy in time");
      await setTimeout(50);
    }
    return await use(url).catch((error) => {
      throw ended() ? fault("ended while it was in use") : error;
    });
  } finally {
    kill(child);
    await closed.catch(() => {});
  }
}

async function healthy(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/health`)).ok;
  } catch {
    return false; // nobody listens yet
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}
