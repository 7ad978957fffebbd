import { CommandError } from "../../src/cli/command.js";
import { integer, optionHelp, text } from "../../src/cli/options.js";
import { readArguments } from "../options.js";
import { LongCard } from "./card.js";
import { type Scenario, scenariosOf } from "./scenarios.js";

const OPTIONS = {
  baseUrl: text({ initial: "http://127.0.0.1:8080" as string, placeholder: "URL", help: "server" }),
  rounds: integer({ initial: 3, min: 1, max: 1000, help: "times that each scenario is run" }),
  warmUps: integer({
    initial: 0,
    min: 0,
    max: 100,
    help: "times that each scenario is run before, unmeasured: new code is compiled on the event loop",
  }),
  adapter: text({
    initial: null,
    placeholder: "PATH",
    help: "folder of an adapter, beside which the server may load others: one with a long card is put there and loaded",
    shown: "none",
  }),
  only: text({
    initial: null,
    placeholder: "WORDS",
    help: "scenarios with these words",
    shown: "all",
  }),
} as const;

const USAGE = `Usage: npm run loadtest -- hold [OPTIONS]

Sends what is long in every way that a client may choose, one scenario after the other, and tells by the server's own
histograms (smore_event_loop_hold_cpu_seconds, smore_event_loop_hold_seconds) how many callbacks computed over
5 ms on its event loop, and how many took over 5 ms with what they waited for a core. The garbage collector counts
as theirs. The server should serve nobody else. Exit code 1 when a callback computed over 5 ms, or a status was not
the expected one.

${optionHelp(OPTIONS)}`;

const LIMIT = 0.005;

const COMPUTED = "smore_event_loop_hold_cpu_seconds";
const PASSED = "smore_event_loop_hold_seconds";

/** Callbacks so far, by their name and the bound that they kept. */
type Holds = ReadonlyMap<string, ReadonlyMap<number, number>>;

export async function hold(args: readonly string[]): Promise<number> {
  const given = readArguments(OPTIONS, USAGE, args);
  if (given === null) return 0;
  const { baseUrl, rounds, warmUps, adapter, only } = given.values;
  const { id, max_model_len } = await firstModel(baseUrl);
  const card = adapter === null ? null : new LongCard(adapter);
  const all = [...scenariosOf(id, max_model_len), ...(card === null ? [] : [card.scenario])];
  const scenarios = all.filter(({ name }) => name.includes(only ?? ""));
  try {
    return await measure(scenarios, { baseUrl, rounds, warmUps });
  } finally {
    card?.remove();
  }
}

interface Settings {
  readonly baseUrl: string;
  readonly rounds: number;
  readonly warmUps: number;
}

/** The exit code. */
async function measure(
  scenarios: readonly Scenario[],
  { baseUrl, rounds, warmUps }: Settings,
): Promise<number> {
  let wrong = 0;
  let [callbacks, over, waited] = [0, 0, 0];
  const columns = ["status", "ms", "callbacks", "over 5 ms", "with waits", "longest computed"];
  console.log(line("scenario", columns));
  for (const scenario of scenarios) {
    for (let round = 0; round < warmUps; round++) await run(scenario, baseUrl);
    const before = await scrape(baseUrl);
    const began = performance.now();
    const statuses = new Set<number>();
    for (let round = 0; round < rounds; round++) {
      for (const status of await run(scenario, baseUrl)) statuses.add(status);
    }
    const ms = (performance.now() - began) / rounds;
    const after = await scrape(baseUrl);
    const [computed, passed] = [COMPUTED, PASSED].map((name) =>
      difference(readHolds(before, name), readHolds(after, name)),
    ) as [Holding, Holding];
    callbacks += computed.callbacks;
    over += computed.over;
    waited += passed.over;
    if (statuses.size > 1 || !statuses.has(scenario.status)) wrong += 1;
    const counts = [computed.callbacks, computed.over, passed.over].map(String);
    const cells = [[...statuses].join(), ms.toFixed(0), ...counts, computed.longest];
    console.log(line(scenario.name, cells));
  }
  console.log(`${over} of ${callbacks} callbacks computed over 5 ms on the event loop`);
  console.log(`${waited} took over 5 ms with what they waited for a core`);
  if (wrong > 0) console.log(`${wrong} scenarios had another status than expected`);
  return wrong > 0 || over > 0 ? 1 : 0;
}

async function firstModel(baseUrl: string): Promise<{ id: string; max_model_len: number }> {
  try {
    const response = await fetch(new URL("/v1/models", baseUrl));
    const { data } = (await response.json()) as { data: { id: string; max_model_len: number }[] };
    return data[0]!;
  } catch {
    throw new CommandError(`${baseUrl} does not list its models`);
  }
}

async function run(scenario: Scenario, baseUrl: string): Promise<number[]> {
  const { path, body, times = 1 } = scenario;
  const request = body === undefined ? {} : { method: "POST", body };
  const asked = Array.from({ length: times }, async () => {
    const response = await fetch(new URL(path, baseUrl), request);
    await response.arrayBuffer();
    return response.status;
  });
  const statuses = await Promise.all(asked);
  if (scenario.next !== undefined) statuses.push(...(await run(scenario.next, baseUrl)));
  return statuses;
}

async function scrape(baseUrl: string): Promise<string> {
  return (await fetch(new URL("/metrics", baseUrl))).text();
}

function readHolds(text: string, name: string): Holds {
  const pattern = new RegExp(`^${name}_bucket\\{le="(\\S+?)",callback="(\\w+)"\\} (\\d+)$`, "gm");
  const holds = new Map<string, Map<number, number>>();
  for (const [, le, callback, count] of text.matchAll(pattern)) {
    const buckets = holds.get(callback!) ?? new Map<number, number>();
    holds.set(callback!, buckets.set(le === "+Inf" ? Infinity : Number(le), Number(count)));
  }
  if (holds.size === 0) throw new CommandError(`the server's /metrics has no ${name}`);
  return holds;
}

interface Holding {
  readonly callbacks: number;
  readonly over: number; // 5 ms
  readonly longest: string;
}

function difference(before: Holds, after: Holds): Holding {
  let [callbacks, over, bound, longest] = [0, 0, 0, ""];
  for (const [callback, buckets] of after) {
    const added = (le: number) => (buckets.get(le) ?? 0) - (before.get(callback)?.get(le) ?? 0);
    const all = added(Infinity);
    callbacks += all;
    over += all - added(LIMIT);
    const kept = [...buckets.keys()].sort((a, b) => a - b).find((le) => added(le) === all)!;
    if (all === 0 || kept <= bound) continue;
    bound = kept;
    longest = `${callback} ${kept === Infinity ? "> 500" : `<= ${1000 * kept}`} ms`;
  }
  return { callbacks, over, longest };
}

function line(name: string, cells: readonly string[]): string {
  const last = cells.at(-1)!;
  const rest = cells.slice(0, -1).map((cell) => cell.padStart(11));
  return `${name.padEnd(28)}${rest.join("")}   ${last}`;
}
