import { setTimeout } from "node:timers/promises";
import { CommandError } from "../../src/cli/command.js";
import { type Answer, KeptConnections } from "./connections.js";

/** The server as the soak sees it. */

export interface Answers {
  /** Greedy tokens of every model to every prompt. */
  readonly tokens: Readonly<Record<string, readonly (readonly number[])[]>>;
}

export interface Adapter {
  readonly name: string;
  readonly path: string;
}

/** Any model has these tokens. */
const PROMPTS: readonly (readonly number[])[] = [
  [1, 2, 3],
  [7, 7, 7, 7, 7, 7, 7, 7],
  Array.from({ length: 40 }, (_, i) => 1 + ((i * 13) % 40)),
];
const QUIET_LIMIT_MS = 60_000;

export class Server {
  readonly url: string;
  readonly base: string;
  readonly #connections: KeptConnections;

  private constructor(url: string, base: string, connections: KeptConnections) {
    this.url = url;
    this.base = base;
    this.#connections = connections;
  }

  static async at(url: string): Promise<Server> {
    const connections = new KeptConnections(url);
    const { text } = await connections.get("/v1/models");
    const { data } = JSON.parse(text) as { data: { id: string }[] };
    return new Server(url, data[0]!.id, connections);
  }

  /** `body`: JSON, or a text as it stands. */
  post(path: string, body: object | string): Promise<Answer> {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    return this.#connections.post(path, text);
  }

  /** Requests, and those of them that met the end of a kept connection and were sent again. */
  get requests(): { readonly asked: number; readonly resent: number } {
    return this.#connections;
  }

  /** Its status; 400 where the name is taken. */
  async load({ name, path }: Adapter): Promise<number> {
    const fields = { lora_name: name, lora_path: path };
    return (await this.post("/v1/load_lora_adapter", fields)).status;
  }

  async unload(name: string): Promise<number> {
    return (await this.post("/v1/unload_lora_adapter", { lora_name: name })).status;
  }

  /** One model after the other, each prompt alone. */
  async answers(models: readonly string[]): Promise<Answers> {
    const tokens: Record<string, number[][]> = {};
    for (const model of models) {
      tokens[model] = [];
      for (const prompt of PROMPTS) tokens[model].push(await this.#greedy(model, prompt));
    }
    return { tokens };
  }

  async #greedy(model: string, prompt: readonly number[]): Promise<number[]> {
    const fields = { temperature: 0, max_tokens: 16, ignore_eos: true, return_token_ids: true };
    const { status, text } = await this.post("/v1/completions", { model, prompt, ...fields });
    if (status !== 200) throw new CommandError(`${model}: ${text}`);
    const { choices } = JSON.parse(text) as { choices: { token_ids: number[] }[] };
    return choices[0]!.token_ids;
  }

  async metric(name: string): Promise<number> {
    const { text } = await this.#connections.get("/metrics");
    const value = new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, "m").exec(text)?.[1];
    if (value === undefined) throw new CommandError(`${this.url}/metrics has no ${name}`);
    return Number(value);
  }

  residentBytes(): Promise<number> {
    return this.metric("process_resident_memory_bytes");
  }

  /** The least memory within `ms` in which nothing runs: the server gives back in steps what it is done with. */
  async quietBytes(ms: number): Promise<number> {
    const limit = performance.now() + QUIET_LIMIT_MS;
    const names = ["vllm:num_requests_running", "vllm:num_requests_waiting"];
    for (const name of names) {
      while ((await this.metric(name)) > 0) {
        if (performance.now() > limit) throw new CommandError(`${name} does not come down to 0`);
        await setTimeout(50);
      }
    }
    let least = Infinity;
    for (const end = performance.now() + ms; performance.now() < end; ) {
      least = Math.min(least, await this.residentBytes());
      await setTimeout(250);
    }
    return least;
  }
}
