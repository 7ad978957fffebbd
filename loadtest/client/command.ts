import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { CommandError } from "../../src/cli/command.js";
import { optionHelp } from "../../src/cli/options.js";
import { readArguments, spreadValues } from "../options.js";
import { arrivalTimes } from "./arrivals.js";
import { consoleBlock } from "./console.js";
import { measure } from "./measure.js";
import { CLIENT_OPTIONS, type ClientOptions, SPREAD_FLAGS } from "./options.js";
import { seededRandom } from "./random.js";
import { makeRequests, requestUrl } from "./requests.js";
import { type Context, makeResult, type Result, resultFilename } from "./result.js";
import { runSchedule } from "./run.js";
import { readCounters, serverView } from "./server-counters.js";
import { readSettings, type Settings } from "./settings.js";
import { StreamingClient } from "./stream.js";

const USAGE = `Usage: npm run loadtest -- [OPTIONS]

Sends streaming requests to any server of OpenAI's API, and reports as vLLM's client does. Closed loop:
--max-concurrency; open loop: --request-rate. OPENAI_API_KEY is sent when it is set. Exit code 1 when a request failed.

${optionHelp(CLIENT_OPTIONS)}

Example: npm run loadtest -- --num-prompts 160 --max-concurrency 16 --ignore-eos --save-result`;

/** Runs the streaming client from its command line. */
export async function stream(args: readonly string[]): Promise<number> {
  const given = readArguments(CLIENT_OPTIONS, USAGE, spreadValues(args, SPREAD_FLAGS));
  if (given === null) return 0;
  const { values } = given;
  const { result, context, block } = await loadTest(values);
  console.log(block);
  if (values.saveResult || values.saveDetailed) {
    mkdirSync(values.resultDir, { recursive: true });
    const file = join(values.resultDir, resultFilename(context, result));
    writeFileSync(file, `${JSON.stringify(result)}\n`);
    console.log(file);
  }
  return result.failed === 0 ? 0 : 1;
}

/** One whole measurement, with its warm-ups. Throws UsageError, and CommandError when nobody answers. */
export async function loadTest(options: ClientOptions) {
  const settings = readSettings(options);
  const key = process.env.OPENAI_API_KEY;
  const headers = { ...(key ? { authorization: `Bearer ${key}` } : {}), ...settings.headers };
  const model = await readyModel(options, headers);
  const target = { url: requestUrl(options), headers };
  const client = new StreamingClient(target, { keepText: options.saveDetailed });
  try {
    await warmUp(client, options, settings, model);
    const requests = makeRequests(options.numPrompts, options, settings.extraBody, model);
    const random = seededRandom(options.seed ^ 0x5eed);
    const arrivals = arrivalTimes(requests.length, settings.pace, random);
    const maxConcurrency = options.maxConcurrency || Number.POSITIVE_INFINITY;
    const before = await readCounters(options.baseUrl, headers);
    const cpuBefore = process.cpuUsage();
    const run = await runSchedule({ requests, arrivals, maxConcurrency }, (each) =>
      client.send(each),
    );
    const cpu = process.cpuUsage(cpuBefore);
    const after = await readCounters(options.baseUrl, headers);
    const measures = measure(run, settings);
    const view =
      before && after
        ? serverView(before, after, { ...measures, requests: measures.completed.length })
        : null;
    const clientCpuSeconds = (cpu.user + cpu.system) / 1e6;
    const context: Context = { options, settings, model, run, clientCpuSeconds, serverView: view };
    const result: Result = makeResult(measures, context);
    return { result, context, block: consoleBlock(result, measures, context) };
  } finally {
    client.close();
  }
}

async function warmUp(
  client: StreamingClient,
  options: ClientOptions,
  { extraBody }: Settings,
  model: string,
): Promise<void> {
  const count = options.numWarmups;
  if (count === 0) return;
  const seed = options.seed + 0x9e3779b9; // other prompts, so that no cache knows the measured ones
  const requests = makeRequests(count, options, extraBody, model, seed);
  const maxConcurrency = options.maxConcurrency || count;
  const schedule = { requests, arrivals: new Float64Array(count), maxConcurrency };
  const { outcomes } = await runSchedule(schedule, (each) => client.send(each));
  const failed = outcomes.find(({ error }) => error !== null);
  if (failed) throw new CommandError(`a warm-up request failed: ${failed.error}`);
}

/** The model to ask for, once the server lists its models. */
export async function readyModel(
  {
    baseUrl,
    model = null,
    readyCheckTimeoutSec = 0,
  }: Pick<ClientOptions, "baseUrl"> & Partial<ClientOptions>,
  headers: Readonly<Record<string, string>> = {},
): Promise<string> {
  const deadline = performance.now() + readyCheckTimeoutSec * 1000;
  for (;;) {
    const fault = await listModels(baseUrl, headers);
    if (typeof fault !== "string") return model ?? fault[0]!;
    if (performance.now() >= deadline) throw new CommandError(`${baseUrl}: ${fault}`);
    await setTimeout(100);
  }
}

/** Names, or what is wrong. */
async function listModels(
  baseUrl: string,
  headers: Readonly<Record<string, string>>,
): Promise<readonly string[] | string> {
  try {
    const response = await fetch(new URL("/v1/models", baseUrl), { headers });
    if (!response.ok) return `/v1/models answers HTTP ${response.status}`;
    const { data } = (await response.json()) as { data?: { id?: string }[] };
    const names = Array.isArray(data) ? data.map((each) => each?.id) : [];
    const named = names.filter((id) => typeof id === "string");
    return named.length > 0 ? named : "/v1/models lists no model";
  } catch (error) {
    const { cause, message } = error as Error & { cause?: Error };
    return `no answer: ${cause?.message ?? message}`;
  }
}
