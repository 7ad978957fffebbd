import { readdirSync, writeFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { CommandError } from "../../src/cli/command.js";
import { integer, optionHelp, text, type Values } from "../../src/cli/options.js";
import { circumstances } from "../circumstances.js";
import { seededRandom } from "../client/random.js";
import { decimal, outputFile, readArguments } from "../options.js";
import { type Program, SMORE, withServer } from "../processes.js";
import { behave, comeAndGo, type Scene } from "./clients.js";
import { type Adapter, Server } from "./server.js";

const OWN_ADAPTERS = fileURLToPath(new URL("../../../models/adapters", import.meta.url));

const OPTIONS = {
  seconds: integer({ initial: 600, min: 1, max: 1_000_000, help: "how long, warm-up apart" }),
  warmup: integer({
    initial: null,
    min: 0,
    max: 100_000,
    help: "seconds of the same before memory is first measured",
    shown: "a fifth of --seconds, at most 60",
  }),
  clients: integer({ initial: 12, min: 1, max: 1000, help: "clients at a time" }),
  model: text({
    initial: null,
    placeholder: "MODEL",
    help: "as smore serve has it",
    shown: "the default model",
  }),
  adapters: text({
    initial: OWN_ADAPTERS as string,
    placeholder: "PATH",
    help: "folder of adapters to load and unload",
    shown: "those that come with the default model",
  }),
  growth: decimal({ initial: 5, help: "percent that memory may have grown at the end" }),
  threads: integer({ initial: 2, min: 1, max: 1024, help: "threads of the server's engine" }),
  seed: integer({ initial: 0, min: 0, max: 2 ** 31, help: "of what the clients do" }),
  output: outputFile("write the report as JSON"),
} as const;

const USAGE = `Usage: npm run soak -- [OPTIONS]

Starts a server and lets clients of every kind loose on it: whole answers and streams, over HTTP and WebSocket,
cancelled, abandoned, half-said and broken, while adapters are loaded and unloaded. It passes when no answer was a
fault of the server's, the answers at the end are those at the start, token by token, and the memory of the server,
once it is quiet, is within --growth percent of what it was after the warm-up. Exit code 1 when it does not.

${optionHelp(OPTIONS)}`;

const COLLECT = new URL("./collect.js", import.meta.url).href;
const SERVER: Program = [SMORE[0], "--expose-gc", "--import", COLLECT, ...SMORE.slice(1)];

/** So small that they are full after the warm-up: what the server may use is no growth. */
const BUDGETS = ["--kv-memory", "32MiB", "--adapter-memory", "64MiB"];

/** In which the server's memory is looked at, once nothing runs: it gives back what is free every 5 s. */
/** A server closes a kept connection in the moment of a request now and then, and no more often. */
const MOST_RESENT = 1 / 500;
const QUIET_MS = 7_000;
const PROGRESS_MS = 10_000;
const MIB = 2 ** 20;

export async function soak(args: readonly string[]): Promise<number> {
  const given = readArguments(OPTIONS, USAGE, args);
  if (given === null) return 0;
  const { values } = given;
  const folders = adapterFolders(values.adapters);
  const model = values.model === null ? [] : ["--model", values.model];
  const serve = ["serve", ...model, "--threads", String(values.threads), "--log-level", "error"];
  const roots = ["--adapter-root", resolve(values.adapters)];
  return withServer(SERVER, [...serve, ...BUDGETS, ...roots], async (url) => {
    const report = await run(await Server.at(url), folders, values);
    if (values.output !== null) {
      const text = JSON.stringify({ ...circumstances(), ...report }, null, 2);
      writeFileSync(values.output, `${text}\n`);
    }
    return report.passed ? 0 : 1;
  });
}

function adapterFolders(path: string): string[] {
  const folders = readdirSync(path, { withFileTypes: true }).filter((it) => it.isDirectory());
  if (folders.length === 0) throw new CommandError(`there is no adapter in ${path}`);
  return folders.map(({ name }) => resolve(path, name));
}

async function run(server: Server, folders: readonly string[], values: Values<typeof OPTIONS>) {
  const adaptersOf = (kind: string): Adapter[] =>
    folders.map((path) => ({ name: `${kind}-${basename(path)}`, path }));
  const [stable, visitors] = [adaptersOf("stays"), adaptersOf("comes")];
  for (const adapter of stable) {
    if ((await server.load(adapter)) !== 200) throw new CommandError(`cannot load ${adapter.path}`);
  }
  const models = [server.base, ...stable.map(({ name }) => name)];
  const scene = { server, stable, visitors };

  const warmup = values.warmup ?? Math.min(60, Math.ceil(values.seconds / 5));
  const before = await server.answers(models);
  await play(scene, warmup, values.clients, values.seed);
  const startBytes = await server.quietBytes(QUIET_MS);
  const did = await play(scene, values.seconds, values.clients, values.seed + 1000);
  const endBytes = await server.quietBytes(QUIET_MS);
  const same = isDeepStrictEqual(await server.answers(models), before);

  const growth = 100 * (endBytes / startBytes - 1);
  const fine = growth <= values.growth;
  const [start, end] = [startBytes, endBytes].map((bytes) => (bytes / MIB).toFixed(1));
  const memory = `${start} MiB after the warm-up, ${end} at the end (${growth.toFixed(1)} %)`;
  console.log(`memory: ${memory}${fine ? "" : `: more than ${values.growth} % above`}`);
  console.log(`answers: ${same ? "the same as at the start" : "NOT those of the start"}`);
  const { asked, resent } = server.requests;
  const rare = resent <= MOST_RESENT * asked;
  const often = rare ? "" : `: more than one in ${1 / MOST_RESENT}`;
  console.log(
    `requests that met the end of a kept connection and were sent again: ${resent} of ${asked}${often}`,
  );
  const { seconds } = values;
  return { passed: fine && same && rare, seconds, startBytes, endBytes, same, resent, did };
}

/** Lets the clients act for so long. How often each thing was done. Throws what no server should do. */
async function play(
  scene: Omit<Scene, "random">,
  seconds: number,
  clients: number,
  seed: number,
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  const did = (what: string) => {
    counts[what] = (counts[what] ?? 0) + 1;
  };
  const began = performance.now();
  const ends = began + 1000 * seconds;
  const progress = setInterval(async () => {
    const bytes = await scene.server.residentBytes();
    const past = Math.round((performance.now() - began) / 1000);
    console.log(`${past} s of ${seconds}, ${(bytes / MIB).toFixed(0)} MiB: ${listed(counts)}`);
  }, PROGRESS_MS);
  const randoms = Array.from({ length: clients + 1 }, (_, i) => seededRandom(seed + i));
  try {
    await Promise.all(
      randoms.map((random, i) => (i === 0 ? comeAndGo : behave)({ ...scene, random }, ends, did)),
    );
  } finally {
    clearInterval(progress);
  }
  console.log(`${seconds} s: ${listed(counts)}`);
  return counts;
}

function listed(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([what, count]) => `${count} ${what}`)
    .join(", ");
}
