// npm run eval: scores the base model and the function-call adapter through a server. The requests of both
// are mixed, so batches hold rows with and without the adapter.

import { readFile } from "node:fs/promises";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { connect } from "./server.js";

interface Message {
  readonly role: string;
  readonly content: string;
}

interface Case {
  readonly messages: readonly Message[];
  readonly expected: string;
}

interface Contestant {
  readonly label: string;
  readonly model: string;
  readonly opening: readonly Message[];
}

interface Job {
  readonly contestant: Contestant;
  readonly case: Case;
}

interface Score {
  hits: number;
  answered: number;
}

const HELP = `Usage: npm run eval -- [OPTIONS]

Scores the base model, the base told the functions, and the adapter on held-out sentences through a server:
one of its own, which ends with it, unless --url names one.

  --url URL          a running server
  --adapter NAME     the adapter to score (default: function-calls)
  --base NAME        the base to score (default: the one that the adapter stands on)
  --concurrency N    requests at a time (default: 16)
  --limit N          only the first N sentences (default: all 240)
  --api-key KEY      the server's key, also from SMORE_API_KEY`;

const MAX_TOKENS = 64; // the longest expected call has 40
const FILES = new URL("../../../models/eval/", import.meta.url); // from dist/models/eval

/** Equal as JSON values: blanks and the order of keys do not count. */
function sameCall(text: string, expected: string): boolean {
  try {
    return isDeepStrictEqual(JSON.parse(text), JSON.parse(expected));
  } catch {
    return false;
  }
}

async function readCases(): Promise<Case[]> {
  const text = await readFile(new URL("function-calls.jsonl", FILES), "utf8");
  const lines = text.trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as Case);
}

async function json<T>(url: string, apiKey: string, body?: object): Promise<T> {
  const headers: Record<string, string> = apiKey ? { authorization: `Bearer ${apiKey}` } : {};
  const response = body
    ? await fetch(url, {
        method: "POST",
        headers: { ...headers, "content-type": "application/json" },
        body: JSON.stringify(body),
      })
    : await fetch(url, { headers });
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

/** The name of the base that the adapter stands on, from the server's list of models. */
async function baseOf(url: string, apiKey: string, adapter: string): Promise<string> {
  const list = await json<{ data: { id: string; parent?: string | null }[] }>(
    `${url}/v1/models`,
    apiKey,
  );
  const base = list.data.find((model) => model.id === adapter)?.parent;
  if (base) return base;
  const names = list.data.map((model) => model.id).join(", ");
  throw new Error(`${url} serves no adapter ${adapter}; it serves ${names}`);
}

async function answer(url: string, apiKey: string, job: Job): Promise<string> {
  const reply = await json<{ choices: { message: { content: string | null } }[] }>(
    `${url}/v1/chat/completions`,
    apiKey,
    {
      model: job.contestant.model,
      messages: [...job.contestant.opening, ...job.case.messages],
      temperature: 0,
      max_tokens: MAX_TOKENS,
    },
  );
  return reply.choices[0]?.message.content ?? "";
}

/** Runs all jobs, `concurrency` at a time, and counts exact matches per contestant. */
async function score(
  jobs: readonly Job[],
  concurrency: number,
  ask: (job: Job) => Promise<string>,
): Promise<Map<Contestant, Score>> {
  const scores = new Map<Contestant, Score>();
  const queue = jobs.values();
  let finished = 0;
  const worker = async (): Promise<void> => {
    for (const job of queue) {
      const hit = sameCall(await ask(job), job.case.expected);
      const entry = scores.get(job.contestant) ?? { hits: 0, answered: 0 };
      scores.set(job.contestant, entry);
      entry.answered += 1;
      if (hit) entry.hits += 1;
      finished += 1;
      if (process.stderr.isTTY) process.stderr.write(`\r${finished}/${jobs.length} answers`);
      else if (finished % 60 === 0) console.error(`${finished}/${jobs.length} answers`);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  if (process.stderr.isTTY) process.stderr.write("\n");
  return scores;
}

function report(models: readonly Contestant[], scores: ReadonlyMap<Contestant, Score>): void {
  const width = Math.max(...models.map(({ label }) => label.length));
  const row = (label: string, share: string, count: string) =>
    console.log(`${label.padEnd(width)}  ${share.padStart(11)}  ${count.padStart(4)}`);
  row("model", "exact match", "n");
  for (const contestant of models) {
    const { hits, answered } = scores.get(contestant) ?? { hits: 0, answered: 0 };
    row(contestant.label, `${((100 * hits) / answered).toFixed(1)}%`, String(answered));
  }
}

async function contestants(url: string, apiKey: string, adapter: string, named?: string) {
  const base = named ?? (await baseOf(url, apiKey, adapter));
  const functions = await readFile(new URL("functions.txt", FILES), "utf8");
  const told = [{ role: "system", content: functions.trim() }];
  return [
    { label: base, model: base, opening: [] },
    { label: `${base}, told the functions`, model: base, opening: told },
    { label: adapter, model: adapter, opening: [] },
  ] satisfies Contestant[];
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1) return value;
  throw new Error(`--${option} ${text} is not a whole number from 1 up`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      help: { type: "boolean", short: "h", default: false },
      url: { type: "string" },
      adapter: { type: "string", default: "function-calls" },
      base: { type: "string" },
      concurrency: { type: "string", default: "16" },
      limit: { type: "string" },
      "api-key": { type: "string", default: process.env.SMORE_API_KEY ?? "" },
    },
  });
  if (values.help) {
    console.log(HELP);
    return;
  }
  const apiKey = values["api-key"];
  const concurrency = wholeNumber("concurrency", values.concurrency);
  const limit = values.limit === undefined ? undefined : wholeNumber("limit", values.limit);
  const server = await connect(values.url);
  try {
    const models = await contestants(server.url, apiKey, values.adapter, values.base);
    const cases = (await readCases()).slice(0, limit);
    const jobs = cases.flatMap((item) => models.map((contestant) => ({ contestant, case: item })));
    report(models, await score(jobs, concurrency, (job) => answer(server.url, apiKey, job)));
  } finally {
    server.stop();
  }
}

try {
  await main();
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  console.error(`eval: ${message}`);
  process.exitCode = 1;
}
