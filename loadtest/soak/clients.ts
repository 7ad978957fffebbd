import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout } from "node:timers/promises";
import { WebSocket } from "ws";
import { between, type Random } from "../client/random.js";
import type { Adapter, Server } from "./server.js";

/** What clients of all kinds do, each in one go. Each tells what it did, and throws what no server should do. */

export interface Scene {
  readonly server: Server;
  /** Adapters that stay, and those that come and go. */
  readonly stable: readonly Adapter[];
  readonly visitors: readonly Adapter[];
  readonly random: Random;
}

/** Answers that a client may get while adapters come and go and the queue fills. */
const FINE = new Set([200, 400, 404, 503]);

type Manner = (scene: Scene) => Promise<string>;

function pick<Item>(items: readonly Item[], random: Random): Item {
  return items[between(random, 0, items.length - 1)]!;
}

function anyModel({ server, stable, visitors, random }: Scene): string {
  const names = [...stable, ...visitors].map(({ name }) => name);
  return pick([server.base, server.base, ...names], random);
}

function bodyOf(scene: Scene, fields: object): object {
  const { random } = scene;
  const prompt = Array.from({ length: between(random, 1, 60) }, () => between(random, 1, 60));
  const max_tokens = between(random, 1, 60);
  const sampling = random() < 0.5 ? { temperature: 0 } : { temperature: 1, top_p: 0.9 };
  const extra = random() < 0.2 ? { logprobs: 5, echo: true } : { n: between(random, 1, 3) };
  return {
    model: anyModel(scene),
    prompt,
    max_tokens,
    ignore_eos: true,
    ...sampling,
    ...extra,
    ...fields,
  };
}

/** Throws where the status is a fault of the server. */
function check(status: number): void {
  if (!FINE.has(status)) throw new Error(`an answer had the status ${status}`);
}

async function whole(scene: Scene): Promise<string> {
  const { status } = await scene.server.post("/v1/completions", bodyOf(scene, {}));
  check(status);
  return status === 200 ? "answered" : "refused";
}

async function stream(scene: Scene): Promise<string> {
  const body = bodyOf(scene, { stream: true });
  const { status, text } = await scene.server.post("/v1/completions", body);
  check(status);
  if (status !== 200) return "refused";
  if (!text.endsWith("data: [DONE]\n\n")) throw new Error("a stream ended before its end");
  return "streamed";
}

/** A connection that ends at any moment, by a FIN or by a reset. */
async function vanish(scene: Scene): Promise<string> {
  const { random, server } = scene;
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  await once(socket, "connect");
  const json = JSON.stringify(bodyOf(scene, { stream: random() < 0.7, max_tokens: 200 }));
  const head = `POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ${json.length}\r\n\r\n`;
  socket.write(head + json.slice(0, random() < 0.2 ? between(random, 0, json.length) : undefined));
  if (random() < 0.2)
    socket.pause(); // reads nothing
  else socket.resume();
  await setTimeout(between(random, 0, 60));
  if (random() < 0.5) socket.destroy();
  else socket.resetAndDestroy();
  return "left";
}

/** Several generations on one socket, of which some are cancelled; it may leave in the middle. */
async function socket(scene: Scene): Promise<string> {
  const { random, server } = scene;
  const ws = new WebSocket(`${server.url.replace("http", "ws")}/v1/stream`);
  ws.on("error", () => {});
  const count = between(random, 1, 4);
  let open = count;
  const ended = new Promise<void>((resolve) => {
    ws.on("message", (data) => {
      const { type, error } = JSON.parse(String(data)) as { type?: string; error?: object };
      if ((type === "done" || error !== undefined) && --open === 0) resolve();
    });
    ws.on("close", () => resolve());
  });
  await once(ws, "open");
  for (let id = 0; id < count; id++) {
    ws.send(JSON.stringify({ id, type: "completion", ...bodyOf(scene, { stream: true }) }));
    if (random() < 0.3) ws.send(JSON.stringify({ id, type: "cancel" }));
  }
  if (random() < 0.3) {
    await setTimeout(between(random, 0, 40));
    ws.terminate();
    return "left its socket";
  }
  await ended;
  if (open > 0) throw new Error("a socket was closed with generations on it");
  ws.close();
  await once(ws, "close");
  return "talked over a socket";
}

async function nonsense(scene: Scene): Promise<string> {
  const { random, server } = scene;
  const bodies = [
    "{",
    "[]",
    '{"model":1}',
    "\u0000",
    `{"a":${"[".repeat(5000)}`,
    "x".repeat(100_000),
  ];
  const { status } = await server.post("/v1/chat/completions", pick(bodies, random));
  if (status !== 400) throw new Error(`nonsense had the status ${status}`);
  return "refused";
}

const MANNERS: readonly Manner[] = [
  whole,
  whole,
  stream,
  stream,
  vanish,
  vanish,
  socket,
  socket,
  nonsense,
];

/** Acts at random until `ends`, by performance.now(). */
export async function behave(
  scene: Scene,
  ends: number,
  did: (what: string) => void,
): Promise<void> {
  while (performance.now() < ends) did(await pick(MANNERS, scene.random)(scene));
}

/** Loads and unloads what comes and goes, used or not. */
export async function comeAndGo(
  { server, visitors, random }: Scene,
  ends: number,
  did: (what: string) => void,
): Promise<void> {
  while (performance.now() < ends) {
    const visitor = pick(visitors, random);
    check(await server.load(visitor));
    did("loads");
    await setTimeout(between(random, 0, 200));
    check(await server.unload(visitor.name));
    did("unloads");
  }
}
