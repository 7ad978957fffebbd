import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

/** The command as users run it, with the real engine on the tiny models. */

export const MAIN = fileURLToPath(new URL("../../src/main.js", import.meta.url));
export const TINY = fileURLToPath(
  new URL("../../../test/fixtures/tiny-llama-smore/tied", import.meta.url),
);
export const SMALL = ["--threads", "2", "--kv-memory", "16MiB", "--adapter-memory", "16MiB"];

/** The same and the tiny model where a test may give its own: flags win over the environment. */
const TINY_UNLESS_TOLD = {
  SMORE_MODEL: join(TINY, "model"),
  SMORE_SERVED_MODEL_NAME: "tiny",
  SMORE_THREADS: "2",
  SMORE_KV_MEMORY: "16MiB",
  SMORE_ADAPTER_MEMORY: "16MiB",
};

interface Golden {
  readonly prompts: readonly (readonly number[])[];
  readonly variants: Readonly<Record<string, { readonly greedy_tokens: readonly number[][] }>>;
}
export const golden: Golden = JSON.parse(readFileSync(join(TINY, "index.json"), "utf8"));

function smore(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): { process: ChildProcess; output: () => string } {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...environment },
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
  }
  return { process: child, output: () => text };
}

export async function exitOf(args: readonly string[]): Promise<{ code: number; output: string }> {
  const { process: child, output } = smore(args);
  const [code] = (await once(child, "close")) as [number];
  return { code, output: output() };
}

/** A server that has just begun to load. */
export function start(args: readonly string[]) {
  const { process: child, output } = smore(["serve", "--port", "0", ...args], TINY_UNLESS_TOLD);
  return { child, output };
}

/** A ready server and its address. */
export async function serve(context: TestContext, args: readonly string[]) {
  const { child, output } = start(args);
  context.after(() => child.kill("SIGKILL"));
  let url: string | undefined;
  while (url === undefined) {
    url = /ready on (https?:\S+)/.exec(output())?.[1];
    assert.equal(child.exitCode, null, output());
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return { child, url, output };
}

export function complete(
  url: string,
  body: object,
  headers: Record<string, string> = {},
): Promise<Response> {
  const fields = { temperature: 0, ignore_eos: true, ...body };
  return postJson(`${url}/v1/completions`, fields, headers);
}

export function postJson(url: string, body: object, headers: Record<string, string> = {}) {
  return fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

export interface ErrorAnswer {
  readonly error: { readonly message: string; readonly param: string; readonly code: string };
}

/** Status, code and field of an answer that is an error. */
export async function refusal(response: Response) {
  const { error } = (await response.json()) as ErrorAnswer;
  return { status: response.status, code: error.code, param: error.param, message: error.message };
}

/** The values of /metrics, by name alone whatever the labels. */
export type Metrics = (name: string) => number;

export async function readMetrics(url: string): Promise<Metrics> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return (name) => {
    const value = new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, "m").exec(text)?.[1];
    assert.ok(value, `/metrics has no ${name}`);
    return Number(value);
  };
}

/** Reads the metrics until they are as they should be. */
export async function eventually(
  url: string,
  holds: (metrics: Metrics) => boolean,
  { everyMs = 0, withinMs = 5_000 } = {},
): Promise<Metrics> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const metrics = await readMetrics(url);
    if (holds(metrics)) return metrics;
    assert.ok(performance.now() < deadline, `still not so: ${holds}`);
    if (everyMs > 0) await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

export async function greedyTokens(url: string, model: string, prompt: readonly number[]) {
  return (await greedyTokensOfAll(url, model, [prompt]))[0];
}

/** Of prompts in one request, which start together. */
export async function greedyTokensOfAll(
  url: string,
  model: string,
  prompt: readonly (readonly number[])[],
) {
  const response = await complete(url, { model, prompt, max_tokens: 32, return_token_ids: true });
  const body = (await response.json()) as { choices?: { token_ids: number[] }[] };
  return body.choices?.map(({ token_ids }) => token_ids) ?? [];
}
