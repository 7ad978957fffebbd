import { CommandError } from "../../src/cli/command.js";
import { readyModel } from "../client/command.js";
import { CLIENT_OPTIONS, type ClientOptions } from "../client/options.js";
import { makeRequests } from "../client/requests.js";
import { readMetrics } from "../client/server-counters.js";
import { type Outcome, type Sendable, StreamingClient } from "../client/stream.js";
import { optionDefaults } from "../options.js";

/** Prompts of random words, as many tokens each, and how long their answers are. */
export interface Ask {
  readonly words: number;
  readonly prefixWords?: number; // that begin every prompt of a seed alike
  readonly tokens: number;
  readonly seed: number;
  readonly count: number;
}

/** Requests to one server, each told apart. */
export class Session {
  readonly url: string;
  readonly #client: StreamingClient;
  #model = "";

  constructor(url: string) {
    this.url = url;
    const target = { url: new URL("/v1/completions", url), headers: {} };
    this.#client = new StreamingClient(target, { keepText: false });
  }

  async requests({ words, prefixWords = 0, tokens, seed, count }: Ask): Promise<Sendable[]> {
    const options: ClientOptions = {
      ...optionDefaults(CLIENT_OPTIONS),
      randomInputLen: words,
      randomPrefixLen: prefixWords,
      randomOutputLen: tokens,
      ignoreEos: true,
      seed,
    };
    return makeRequests(count, options, {}, await this.model());
  }

  /** Throws CommandError when it fails. */
  async send(request: Sendable): Promise<Outcome> {
    const outcome = await this.#client.send(request);
    if (outcome.error !== null) throw new CommandError(`${this.url}: ${outcome.error}`);
    return outcome;
  }

  metrics(): Promise<(name: string) => number> {
    return readMetrics(this.url);
  }

  close(): void {
    this.#client.close();
  }

  /** The first that the server tells of. */
  async model(): Promise<string> {
    if (this.#model === "") this.#model = await readyModel({ baseUrl: this.url });
    return this.#model;
  }
}
