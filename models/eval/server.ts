// The server that the evaluation talks to: the one that is named, or one of its own.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const OWN_PORT = 18080;
const START_LIMIT_MS = 120_000;

export interface Server {
  readonly url: string;
  stop(): void;
}

async function ready(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/readyz`)).ok;
  } catch {
    return false; // nobody listens
  }
}

/** The server at `url`, or when none is named a fresh one, which ends with `stop`. */
export async function connect(url: string | undefined): Promise<Server> {
  if (url !== undefined) {
    if (await ready(url)) return { url, stop: () => {} };
    throw new Error(`no server is ready at ${url}`);
  }
  const own = `http://127.0.0.1:${OWN_PORT}`;
  console.error(`eval: starting a server at ${own}`);
  const main = fileURLToPath(new URL("../../src/main.js", import.meta.url));
  const child = spawn(process.execPath, [main, "serve", "--port", String(OWN_PORT)], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const stop = (): void => void child.kill("SIGTERM");
  const deadline = Date.now() + START_LIMIT_MS;
  while (!(await ready(own))) {
    if (child.exitCode !== null) throw new Error(`the server ended with code ${child.exitCode}`);
    if (Date.now() > deadline) {
      stop();
      throw new Error(`the server was not ready within ${START_LIMIT_MS / 1000} s`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return { url: own, stop };
}
