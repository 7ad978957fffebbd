import { setTimeout } from "node:timers/promises";
import { CommandError } from "../../src/cli/command.js";
import { percentile } from "../client/statistics.js";
import { StreamingClient } from "../client/stream.js";
import { SMORE, withServer } from "../processes.js";

/** The whole server, with its engine. */

export interface EngineFigures {
  readonly threads: number;
  /** Bounds of the metric's buckets, in ms: 16 streams. */
  readonly deliveryP50: number;
  readonly deliveryP99: number;
  readonly deliveredIn1Ms: number; // share of the tokens
  readonly streams64: boolean;
  readonly scrapeP99: number; // of /metrics meanwhile, in ms
  /** Time to the first token of small requests, in ms. */
  readonly idleTtftP99: number;
  readonly mixedTtftP99: number;
}

const SMALL = { prompt: 16, tokens: 4 };
const LONG_PROMPT = 1000;
const ALL = 64;
/** Far more often than Prometheus, so that some seconds tell. */
const SCRAPE_MS = 50;
/** In which streams that begin together drift apart. */
const SETTLE_MS = 1500;
/** Tokens of each stream whose delivery is timed: so many that their prompts are less than a hundredth of it. */
const STEADY = 512;

export async function measureEngine(
  model: string | null,
  threads: number,
  requests: number,
): Promise<EngineFigures> {
  const args = [
    ...["serve", "--threads", String(threads), "--log-level", "error", "--max-batch", "32"],
    ...["--kv-memory", "1GiB", ...(model === null ? [] : ["--model", model])],
  ];
  return withServer(SMORE, args, async (url) => {
    const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
    const load = new Load(url, data[0]!.id);
    await load.send(SMALL.prompt, 64); // weights and code are warm
    const before = await deliveries(url);
    await load.many(16, STEADY);
    const delivered = difference(before, await deliveries(url));
    let over = false;
    const streaming = load.many(ALL, 64).finally(() => {
      over = true;
    });
    const [streams64, scrapes] = await Promise.all([streaming, scrapeUntil(url, () => over)]);
    const idle = await load.ttfts(requests);
    const mixed = await load.amid(() => load.ttfts(requests));
    load.close();
    return {
      threads,
      deliveryP50: 1000 * quantile(delivered, 0.5),
      deliveryP99: 1000 * quantile(delivered, 0.99),
      deliveredIn1Ms: (delivered.get(0.001) ?? 0) / (delivered.get(Infinity) ?? 1),
      streams64,
      scrapeP99: percentile(Float64Array.from(scrapes).sort(), 99),
      idleTtftP99: percentile(idle, 99),
      mixedTtftP99: percentile(mixed, 99),
    };
  });
}

const BURST = 200;

/** How long the refused ones of 200 requests at once waited for it, in ms: the 99th percentile. */
export async function measureRefusals(model: string | null): Promise<number> {
  const limits = ["--max-batch", "4", "--max-queue", "16", "--log-level", "error"];
  const args = ["serve", ...limits, ...(model === null ? [] : ["--model", model])];
  return withServer(SMORE, args, async (url) => {
    const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
    const body = JSON.stringify({ model: data[0]!.id, prompt: [1, 2, 3], max_tokens: 64 });
    const waits: number[] = [];
    const asked = Array.from({ length: BURST }, async () => {
      const began = performance.now();
      const response = await fetch(`${url}/v1/completions`, { method: "POST", body });
      if (response.status === 503) waits.push(performance.now() - began);
      await response.arrayBuffer();
    });
    await Promise.all(asked);
    if (waits.length === 0) throw new CommandError(`none of ${BURST} requests was refused`);
    return percentile(Float64Array.from(waits).sort(), 99);
  });
}

class Load {
  readonly #client: StreamingClient;
  readonly #model: string;
  #sent = 0;

  constructor(url: string, model: string) {
    const target = { url: new URL("/v1/completions", url), headers: {} };
    this.#client = new StreamingClient(target, { keepText: false });
    this.#model = model;
  }

  /** No prompt is the beginning of another: nothing is cached. Throws CommandError. */
  async send(promptTokens: number, tokens: number) {
    const first = 100 + (this.#sent++ % 800);
    const prompt = Array.from({ length: promptTokens }, (_, i) => first + ((i * 31) % 97));
    const body = { model: this.#model, prompt, max_tokens: tokens, ignore_eos: true, stream: true };
    const outcome = await this.#client.send({ model: this.#model, body: JSON.stringify(body) });
    if (outcome.error !== null) throw new CommandError(outcome.error);
    return outcome;
  }

  /** Whether every one of so many streams at a time got all its tokens. */
  async many(streams: number, tokens: number): Promise<boolean> {
    const all = Array.from({ length: streams }, () => this.send(SMALL.prompt, tokens));
    return (await Promise.all(all)).every(({ times }) => times.length >= tokens);
  }

  /** Of small requests, one after the other, in ms and in order of size. */
  async ttfts(requests: number): Promise<Float64Array> {
    const times = new Float64Array(requests);
    for (let i = 0; i < requests; i++) {
      const { start, times: events } = await this.send(SMALL.prompt, SMALL.tokens);
      times[i] = events[0]! - start;
    }
    return times.sort();
  }

  /** While eight streams of many lengths, so that they end and begin at any time, and long prompts keep the engine busy. */
  async amid<Value>(measure: () => Promise<Value>): Promise<Value> {
    let over = false;
    let begun = 0;
    const stream = async () => {
      while (!over) await this.send(SMALL.prompt, 32 + ((begun++ * 37) % 65));
    };
    const longPrompts = async () => {
      while (!over) await this.send(LONG_PROMPT, 8);
    };
    const others = [...Array.from({ length: 8 }, stream), longPrompts()];
    try {
      await setTimeout(SETTLE_MS);
      return await measure();
    } finally {
      over = true;
      await Promise.all(others);
    }
  }

  close(): void {
    this.#client.close();
  }
}

/** How long each look at /metrics took, in ms. */
async function scrapeUntil(url: string, over: () => boolean): Promise<number[]> {
  const times: number[] = [];
  while (!over()) {
    const began = performance.now();
    const response = await fetch(`${url}/metrics`);
    await response.text();
    if (!response.ok) throw new CommandError(`${url}/metrics answers ${response.status}`);
    times.push(performance.now() - began);
    await setTimeout(SCRAPE_MS);
  }
  return times;
}

type Buckets = ReadonlyMap<number, number>; // counts up to each bound, in seconds

async function deliveries(url: string): Promise<Buckets> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const pattern = /^smore_token_delivery_seconds_bucket\{le="(\S+?)"\} (\d+)$/gm;
  return new Map(
    [...text.matchAll(pattern)].map(([, le, count]) => [
      le === "+Inf" ? Infinity : Number(le),
      Number(count),
    ]),
  );
}

function difference(before: Buckets, after: Buckets): Buckets {
  return new Map([...after].map(([le, count]) => [le, count - (before.get(le) ?? 0)]));
}

/** The least bound that so large a share keeps. */
function quantile(buckets: Buckets, share: number): number {
  const all = buckets.get(Infinity) ?? 0;
  const bounds = [...buckets].sort(([a], [b]) => a - b);
  return bounds.find(([, count]) => count >= share * all)?.[0] ?? Infinity;
}
