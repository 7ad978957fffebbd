import { type ChatMessage, type ChatUsage, streamChat } from "../../client/chat.js";
import type { Server } from "../../client/server.js";

/** What is asked for beside the messages. */
export interface Sampling {
  readonly temperature: number;
  readonly maxTokens: number | null; // null = as far as the context goes
}

/** How an answer went. */
export interface AnswerFacts {
  readonly tokens: number;
  readonly firstTokenSeconds: number;
  readonly tokensPerSecond: number | null; // null for one token
  readonly finishReason: string;
}

/** What was said so far, and to whom. */
export class Conversation {
  readonly server: Server;
  model: string;
  /** Null: the model's own template says what it says. */
  system: string | null;
  readonly #sampling: Sampling;
  #messages: ChatMessage[] = [];

  constructor(server: Server, model: string, system: string | null, sampling: Sampling) {
    this.server = server;
    this.model = model;
    this.system = system;
    this.#sampling = sampling;
  }

  get length(): number {
    return this.#messages.length;
  }

  reset(): void {
    this.#messages = [];
  }

  /**
   * Asks and passes the answer on piece by piece. What was answered before `signal` aborted is kept;
   * of what failed nothing is. Throws ServerError, and what an aborted `signal` throws.
   */
  async ask(
    content: string,
    onText: (text: string) => void,
    signal: AbortSignal,
  ): Promise<AnswerFacts> {
    const asked: ChatMessage = { role: "user", content };
    const clock = new AnswerClock();
    let answer = "";
    try {
      for await (const { choices, usage } of streamChat(
        this.server,
        this.#request(asked),
        signal,
      )) {
        const [choice] = choices;
        const text = choice?.delta.content ?? "";
        if (text !== "") {
          clock.token();
          answer += text;
          onText(text);
        }
        clock.noted(choice?.finish_reason ?? null, usage ?? null);
      }
      this.#remember(asked, answer);
      return clock.facts();
    } catch (error) {
      if (signal.aborted && answer !== "") this.#remember(asked, answer);
      throw error;
    }
  }

  #remember(asked: ChatMessage, answer: string): void {
    this.#messages.push(asked, { role: "assistant", content: answer });
  }

  #request(asked: ChatMessage) {
    const { temperature, maxTokens } = this.#sampling;
    const system: ChatMessage[] =
      this.system === null ? [] : [{ role: "system", content: this.system }];
    return {
      model: this.model,
      messages: [...system, ...this.#messages, asked],
      temperature,
      ...(maxTokens === null ? {} : { max_tokens: maxTokens }),
    };
  }
}

/** Times one answer. */
class AnswerClock {
  readonly #asked = performance.now();
  #first: number | null = null;
  #last = this.#asked;
  #pieces = 0;
  #tokens: number | null = null;
  #reason = "";

  token(): void {
    this.#last = performance.now();
    this.#first ??= this.#last;
    this.#pieces++;
  }

  noted(reason: string | null, usage: ChatUsage | null): void {
    this.#reason = reason ?? this.#reason;
    this.#tokens = usage?.completion_tokens ?? this.#tokens;
  }

  facts(): AnswerFacts {
    const first = this.#first ?? this.#last;
    const seconds = (this.#last - first) / 1000;
    return {
      tokens: this.#tokens ?? this.#pieces,
      firstTokenSeconds: (first - this.#asked) / 1000,
      tokensPerSecond: seconds > 0 ? (this.#pieces - 1) / seconds : null,
      finishReason: this.#reason,
    };
  }
}

/** `12 tokens, 31.4 tokens/s, the first after 0.12 s` */
export function factsText({
  tokens,
  firstTokenSeconds,
  tokensPerSecond,
  finishReason,
}: AnswerFacts) {
  const speed = tokensPerSecond === null ? "" : `, ${tokensPerSecond.toFixed(1)} tokens/s`;
  const cut = finishReason === "length" ? "; cut at the limit of tokens" : "";
  const count = `${tokens} token${tokens === 1 ? "" : "s"}`;
  return `${count}${speed}, the first after ${firstTokenSeconds.toFixed(2)} s${cut}`;
}
