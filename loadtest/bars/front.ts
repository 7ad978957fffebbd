import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import autocannon from "autocannon";
import { WebSocket } from "ws";
import { type Program, withServer } from "../processes.js";
import { usageOf } from "./usage.js";

/** The HTTP side alone, in front of an engine that costs nothing, and beside bare uWebSockets. */

const script = (name: string): Program => [
  process.execPath,
  fileURLToPath(new URL(`./${name}.js`, import.meta.url)),
];
const SERVED = script("served");
const BARE = script("bare");

const STREAMS = 256;
const KEPT = 2000;
const SOCKETS = 500;
const LIVEZ_SECONDS = 2;

interface Streamed {
  readonly eventsPerSecond: number;
  readonly cpuMicrosecondsPerEvent: number;
}

export interface FrontFigures {
  readonly served: Streamed;
  readonly bare: Streamed;
  /** Requests per second. */
  readonly livez: { readonly served: number; readonly bare: number };
  readonly idleBytes: number; // of 2,000 connections and 500 WebSockets
}

export async function measureFront(events: number, rounds: number): Promise<FrontFigures> {
  const streams = ["--streams", String(STREAMS)];
  const event = await withServer(SERVED, ["--streams", "1"], sampleEvent);
  const bareArgs = [...streams, "--event", event, "--events", String(events)];
  const best: Record<"served" | "bare", Streamed[]> = { served: [], bare: [] };
  const livez = { served: 0, bare: 0 };
  for (let round = 0; round < rounds; round++) {
    await withServer(SERVED, streams, async (url) => {
      best.served.push(await stream(url, events));
      livez.served = Math.max(livez.served, await alive(url));
    });
    await withServer(BARE, bareArgs, async (url) => {
      best.bare.push(await stream(url, events));
      livez.bare = Math.max(livez.bare, await alive(url));
    });
  }
  const idleBytes = await withServer(SERVED, [], idle);
  return { served: fastest(best.served), bare: fastest(best.bare), livez, idleBytes };
}

function fastest(runs: readonly Streamed[]): Streamed {
  return runs.reduce((a, b) => (b.eventsPerSecond > a.eventsPerSecond ? b : a));
}

const head = (path: string, json: string) =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${json.length}\r\n\r\n${json}`;
const completion = (tokens: number) =>
  JSON.stringify({
    model: "fake",
    prompt: [1],
    max_tokens: tokens,
    ignore_eos: true,
    stream: true,
  });

/** The bytes of one token's event. */
async function sampleEvent(url: string): Promise<string> {
  const response = await fetch(`${url}/v1/completions`, { method: "POST", body: completion(1) });
  return `${(await response.text()).split("\n\n")[0]}\n\n`;
}

function open(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  return once(socket, "connect").then(() => socket);
}

/** From the first byte of any stream to the last one of all; the client does nothing but count them. */
async function stream(url: string, events: number): Promise<Streamed> {
  const sockets = await Promise.all(Array.from({ length: STREAMS }, () => open(url)));
  const before = await usageOf(url);
  let [first, last] = [0, 0];
  const ended = sockets.map(
    (socket) =>
      new Promise<void>((resolve) => {
        socket.on("data", (data) => {
          last = performance.now();
          if (first === 0) first = last;
          if (data.includes("data: [DONE]")) resolve();
        });
      }),
  );
  const request = head("/v1/completions", completion(events));
  for (const socket of sockets) socket.write(request);
  await Promise.all(ended);
  const after = await usageOf(url);
  for (const socket of sockets) socket.destroy();
  const count = STREAMS * events;
  return {
    eventsPerSecond: count / ((last - first) / 1000),
    cpuMicrosecondsPerEvent: (after.cpuMicroseconds - before.cpuMicroseconds) / count,
  };
}

async function alive(url: string): Promise<number> {
  const result = await autocannon({
    url: `${url}/livez`,
    connections: 32,
    duration: LIVEZ_SECONDS,
  });
  return result.requests.average;
}

/** Bytes that idle clients cost. */
async function idle(url: string): Promise<number> {
  const before = await usageOf(url);
  const sockets = await Promise.all(Array.from({ length: KEPT }, () => open(url)));
  await Promise.all(
    sockets.map((socket) => {
      socket.write("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
      return once(socket, "data");
    }),
  );
  const wss = await Promise.all(
    Array.from({ length: SOCKETS }, async () => {
      const ws = new WebSocket(`${url.replace("http", "ws")}/v1/stream`);
      await once(ws, "open");
      return ws;
    }),
  );
  await setTimeout(500);
  const after = await usageOf(url);
  for (const socket of sockets) socket.destroy();
  for (const ws of wss) ws.terminate();
  return after.residentBytes - before.residentBytes;
}
