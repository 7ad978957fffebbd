// npm run eval: scores the base model and the adapters through a server. The requests of all are mixed, so batches
// hold rows of the base and of every adapter.

import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { autoTable, groups, judge } from "./auto.js";
import { Checker } from "./checker.js";
import { contestants, type Levels, type LevelsByName, type Scored } from "./contestants.js";
import { type Answered, inTurn, type Job, mixedJobs, shares, table } from "./score.js";
import { connect } from "./server.js";
import { type Message, readTasks, taskNames } from "./tasks.js";

const HELP = `Usage: npm run eval -- [OPTIONS]

Scores the base model, the base told what to do, the adapters, and the adapters with all tokens routed to one
sub-tree, on held-out cases through a server: one of its own, which ends with it, unless --url names one.
Adapters are called as their tasks; one that is called mixed is for all tasks and answers their cases, too.

With --auto nothing is scored: the same cases, and several hundred prompts that are no task's, are sent to the model
"auto", and the table says how often the server chose the adapter of the task, or none.

  --auto             score the choice of adapters instead
  --url URL          a running server
  --adapter NAME     an adapter to score; repeatable (default: all that are served and have a task)
  --base NAME        the base to score (default: the one that the adapters stand on)
  --concurrency N    requests at a time (default: 16)
  --limit N          only the first N cases of each task (default: all)
  --alone N          ask the first N cases of each task again, one at a time: answers must be the same (default: 5)
  --json FILE        also write the shares of right answers here, over those of the same tasks
  --api-key KEY      the server's key, also from SMORE_API_KEY`;

const FOR_ALL_TASKS = "mixed";
const MAX_TOKENS = 96; // the longest expected answer has fewer

type Api = <T>(path: string, body?: object) => Promise<T>;

function api(url: string, apiKey: string): Api {
  const headers: Record<string, string> = apiKey ? { authorization: `Bearer ${apiKey}` } : {};
  return async (path, body) => {
    const response = body
      ? await fetch(url + path, {
          method: "POST",
          headers: { ...headers, "content-type": "application/json" },
          body: JSON.stringify(body),
        })
      : await fetch(url + path, { headers });
    if (!response.ok)
      throw new Error(`${url}${path}: HTTP ${response.status} ${await response.text()}`);
    return (await response.json()) as never;
  };
}

interface Served extends Scored {
  readonly names: readonly string[];
}

/** The adapters to score and the base that they stand on, from the server's list of models. */
async function served(
  call: Api,
  asked: readonly string[] | undefined,
  base: string | undefined,
): Promise<Served> {
  const { data } = await call<{ data: { id: string; parent?: string | null }[] }>("/v1/models");
  const known = await taskNames();
  const names = asked ?? data.map(({ id }) => id).filter((id) => known.includes(id) && id !== base);
  const parents = names.map((name) => data.find(({ id }) => id === name)?.parent);
  const missing = names.find((_, index) => !parents[index]);
  const list = data.map(({ id }) => id).join(", ");
  if (missing !== undefined) throw new Error(`no adapter ${missing} is served, only ${list}`);
  if (names.length === 0) throw new Error(`no adapter of a task is served, only ${list}`);
  const mixed = data.some(({ id }) => id === FOR_ALL_TASKS) ? FOR_ALL_TASKS : undefined;
  return { names, base: base ?? parents[0]!, mixed };
}

async function levelsOf(call: Api): Promise<LevelsByName> {
  const { data } = await call<{ data: { id: string; levels: Levels }[] }>("/v1/adapters");
  return new Map(data.map(({ id, levels }) => [id, levels]));
}

async function answer(call: Api, { contestant, case: { messages } }: Job): Promise<string> {
  const reply = await call<{ choices: { message: { content: string | null } }[] }>(
    "/v1/chat/completions",
    {
      model: contestant.model,
      messages: [...contestant.opening, ...messages],
      temperature: 0,
      max_tokens: MAX_TOKENS,
      ...(contestant.router === undefined ? {} : { router: contestant.router }),
    },
  );
  return reply.choices[0]?.message.content ?? "";
}

/** The adapter that the server lets answer; null: the base. */
async function chosen(call: Api, base: string, messages: readonly Message[]) {
  const body = { model: "auto", messages, temperature: 0, max_tokens: 1 };
  const { model } = await call<{ model: string }>("/v1/chat/completions", body);
  return model === base ? null : model;
}

function progress(total: number): () => void {
  let finished = 0;
  const terminal = process.stderr.isTTY;
  return () => {
    finished += 1;
    const end = finished === total ? "\n" : "";
    if (terminal) process.stderr.write(`\r${finished}/${total} answers${end}`);
    else if (finished % 100 === 0) console.error(`${finished}/${total} answers`);
  };
}

/** Asks cases again, one at a time. Throws when an answer differs from the one in the mix. */
async function alone(call: Api, answers: readonly Answered[], count: number): Promise<void> {
  const again = answers.filter(({ task, case: item }) => task.cases.indexOf(item) < count);
  for (const one of again) {
    const text = await answer(call, one);
    if (text === one.answer) continue;
    throw new Error(
      `${one.contestant.label} of ${one.task.name} answers ${JSON.stringify(one.case.messages)} in a mix with ` +
        `${JSON.stringify(one.answer)} and alone with ${JSON.stringify(text)}`,
    );
  }
  console.log(`\n${again.length} of the answers asked again one at a time: all the same`);
}

async function writeScores(path: string, answers: readonly Answered[]): Promise<void> {
  const before = existsSync(path) ? JSON.parse(await readFile(path, "utf8")) : {};
  const names = Object.entries({ ...before, ...shares(answers) });
  const sorted = names.sort(([a], [b]) => (a < b ? -1 : 1));
  await writeFile(path, `${JSON.stringify(Object.fromEntries(sorted), null, 2)}\n`);
}

function wholeNumber(option: string, text: string, least: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least) return value;
  throw new Error(`--${option} ${text} is not a whole number from ${least} up`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      help: { type: "boolean", short: "h", default: false },
      auto: { type: "boolean", default: false },
      url: { type: "string" },
      adapter: { type: "string", multiple: true },
      base: { type: "string" },
      concurrency: { type: "string", default: "16" },
      limit: { type: "string" },
      alone: { type: "string", default: "5" },
      json: { type: "string" },
      "api-key": { type: "string", default: process.env.SMORE_API_KEY ?? "" },
    },
  });
  if (values.help) {
    console.log(HELP);
    return;
  }
  const concurrency = wholeNumber("concurrency", values.concurrency, 1);
  const limit = values.limit === undefined ? undefined : wholeNumber("limit", values.limit, 1);
  const asAlone = wholeNumber("alone", values.alone, 0);
  const server = await connect(values.url);
  const checker = new Checker();
  try {
    const call = api(server.url, values["api-key"]);
    const scored = await served(call, values.adapter, values.base);
    if (values.auto) {
      const asked = await groups(scored.names, await taskNames(), limit);
      const choose = (messages: readonly Message[]) => chosen(call, scored.base, messages);
      console.log(autoTable(await judge(asked, concurrency, choose)));
      return;
    }
    const tasks = await readTasks(scored.names, limit);
    const levels = await levelsOf(call);
    const entries = tasks.map((task) => {
      return [task, contestants(task, scored, levels)] as const;
    });
    const jobs = mixedJobs(new Map(entries));
    const tick = progress(jobs.length);
    const answers = await inTurn(jobs, concurrency, async (job) => {
      const text = await answer(call, job);
      tick();
      return { ...job, answer: text, right: await checker.right(job.task.check, job.case, text) };
    });
    console.log(table(answers));
    if (values.json !== undefined) await writeScores(values.json, answers);
    if (asAlone > 0) await alone(call, answers, asAlone);
  } finally {
    checker.close();
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
