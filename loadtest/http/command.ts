import { writeFileSync } from "node:fs";
import autocannon, { type Result } from "autocannon";
import { CommandError } from "../../src/cli/command.js";
import { integer, optionHelp, text } from "../../src/cli/options.js";
import { outputFile, readArguments } from "../options.js";

const OPTIONS = {
  baseUrl: text({ initial: "http://127.0.0.1:8080" as string, placeholder: "URL", help: "server" }),
  connections: integer({ initial: 32, min: 1, max: 10_000, help: "connections at a time" }),
  duration: integer({ initial: 5, min: 1, max: 3600, help: "seconds of each scenario" }),
  amount: integer({
    initial: 0,
    min: 0,
    max: 1e9,
    help: "requests of each scenario, in place of --duration; 0 = by time",
  }),
  output: outputFile("write the figures as JSON"),
} as const;

const USAGE = `Usage: npm run loadtest -- http [OPTIONS]

Measures what does not stream, by autocannon: health, lists, refusals, short answers. OPENAI_API_KEY is sent
when it is set. Exit code 1 when a status was not the expected one.

${optionHelp(OPTIONS)}`;

interface Scenario {
  readonly name: string;
  readonly path: string;
  readonly body?: string;
  readonly status: number;
}

interface Row {
  readonly scenario: string;
  readonly status: number;
  readonly requests_per_second: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly max_ms: number;
  readonly failed: number; // other statuses, errors and timeouts
}

function scenariosOf(model: string): Scenario[] {
  const prompt = { model, prompt: "Once upon a time", max_tokens: 4, temperature: 0 };
  const completions = "/v1/completions";
  const body = (changes: object) => JSON.stringify({ ...prompt, ...changes });
  return [
    { name: "liveness", path: "/livez", status: 200 },
    { name: "list of models", path: "/v1/models", status: 200 },
    { name: "unknown path", path: "/v1/nothing", status: 404 },
    { name: "broken JSON", path: completions, body: "{", status: 400 },
    { name: "unknown model", path: completions, body: body({ model: "no such" }), status: 404 },
    { name: "wrong parameter", path: completions, body: body({ temperature: -1 }), status: 400 },
    { name: "4 tokens, not streamed", path: completions, body: body({}), status: 200 },
  ];
}

export async function http(args: readonly string[]): Promise<number> {
  const given = readArguments(OPTIONS, USAGE, args);
  if (given === null) return 0;
  const { values } = given;
  const { baseUrl, connections, duration, amount } = values;
  const extent = amount > 0 ? { amount } : { duration };
  const key = process.env.OPENAI_API_KEY;
  const headers = {
    "content-type": "application/json",
    ...(key ? { authorization: `Bearer ${key}` } : {}),
  };
  const rows: Row[] = [];
  console.log(line("scenario", ["status", "req/s", "p50 ms", "p99 ms", "max ms", "failed"]));
  for (const scenario of scenariosOf(await firstModel(baseUrl, headers))) {
    const { path, body } = scenario;
    const url = new URL(path, baseUrl).href;
    const request = body === undefined ? {} : { method: "POST" as const, body };
    const result = await autocannon({ url, headers, connections, ...extent, ...request });
    const row = rowOf(scenario, result);
    rows.push(row);
    const { scenario: name, ...figures } = row;
    console.log(line(name, Object.values(figures).map(String)));
  }
  if (values.output !== null) {
    writeFileSync(values.output, `${JSON.stringify({ connections, ...extent, rows }, null, 2)}\n`);
  }
  return rows.some(({ failed }) => failed > 0) ? 1 : 0;
}

async function firstModel(baseUrl: string, headers: Record<string, string>): Promise<string> {
  try {
    const response = await fetch(new URL("/v1/models", baseUrl), { headers });
    const { data } = (await response.json()) as { data: { id: string }[] };
    return data[0]!.id;
  } catch {
    throw new CommandError(`${baseUrl} does not list its models`);
  }
}

function rowOf({ name, status }: Scenario, result: Result): Row {
  const { requests, latency, statusCodeStats, errors, timeouts } = result;
  const expected = statusCodeStats[status]?.count ?? 0;
  const answered = Object.values(statusCodeStats).reduce((sum, { count }) => sum + count, 0);
  return {
    scenario: name,
    status,
    requests_per_second: Math.round(requests.average),
    p50_ms: latency.p50,
    p99_ms: latency.p99,
    max_ms: latency.max,
    failed: answered - expected + errors + timeouts,
  };
}

function line(name: string, cells: readonly string[]): string {
  return name.padEnd(24) + cells.map((cell) => cell.padStart(10)).join("");
}
