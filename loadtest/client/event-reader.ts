const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const BLANK = 0x20;
const OPENING_BRACKET = 0x5b;
const CLOSING_BRACKET = 0x5d;
const DATA = Buffer.from("data:");
const DONE = Buffer.from("[DONE]");
const CHOICES = Buffer.from('"choices"');

interface Payload {
  readonly error?: { readonly message?: string } | string;
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number } | null;
  readonly choices?: readonly { readonly text?: string; readonly delta?: { content?: string } }[];
}

export interface Usage {
  readonly promptTokens: number;
  readonly outputTokens: number;
}

/**
 * Reads one server-sent stream of completions. Events with a token are timed and counted by their
 * bytes alone: parsing each would take more of the machine than a small model's server has to spare.
 */
export class EventReader {
  /** Arrival of each event that has choices, in ms of performance.now(). */
  readonly times: number[] = [];
  usage: Usage | null = null;
  error: string | null = null;
  done = false;
  /** What was generated; null unless asked for. */
  text: string | null;
  #rest: Buffer | null = null;
  #last: Buffer | null = null;

  constructor(options: { readonly keepText: boolean }) {
    this.text = options.keepText ? "" : null;
  }

  push(chunk: Buffer, now: number): void {
    const bytes = this.#rest === null ? chunk : Buffer.concat([this.#rest, chunk]);
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      if (end > start) this.#line(bytes, start, end, now);
      start = end + 1;
    }
    this.#rest = start < bytes.length ? bytes.subarray(start) : null;
  }

  /** At the end of the stream. Some servers put the usage into the last event that has choices. */
  finish(): void {
    if (this.usage === null && this.#last !== null) this.#keepUsage(parse(this.#last));
  }

  #line(bytes: Buffer, start: number, end: number, now: number): void {
    if (!startsWith(bytes, DATA, start)) return; // a comment, or a field such as "event:"
    let from = start + DATA.length;
    if (bytes[from] === BLANK) from++;
    const to = bytes[end - 1] === CARRIAGE_RETURN ? end - 1 : end;
    if (startsWith(bytes, DONE, from)) {
      this.done = true;
      return;
    }
    const payload = bytes.subarray(from, to);
    if (hasChoice(payload)) {
      this.times.push(now);
      this.#last = payload;
      if (this.text !== null) this.text += textOf(parse(payload));
    } else {
      this.#rare(parse(payload));
    }
  }

  #rare(payload: Payload): void {
    this.#keepUsage(payload);
    const { error } = payload;
    if (error !== undefined)
      this.error ??= typeof error === "string" ? error : (error.message ?? "");
  }

  #keepUsage({ usage }: Payload): void {
    if (!usage) return;
    this.usage = { promptTokens: usage.prompt_tokens, outputTokens: usage.completion_tokens };
  }
}

function startsWith(bytes: Buffer, word: Buffer, at: number): boolean {
  for (let index = 0; index < word.length; index++) {
    if (bytes[at + index] !== word[index]) return false;
  }
  return true;
}

/** In JSON a text cannot hold this word with bare quotes, so it is the key. */
function hasChoice(payload: Buffer): boolean {
  let at = payload.indexOf(CHOICES);
  if (at < 0) return false;
  at = payload.indexOf(OPENING_BRACKET, at + CHOICES.length) + 1;
  while (payload[at] === BLANK) at++;
  return at > 0 && payload[at] !== CLOSING_BRACKET;
}

function parse(payload: Buffer): Payload {
  const text = payload.toString("utf8");
  try {
    return JSON.parse(text) as Payload;
  } catch {
    return { error: `an event is not JSON: ${text.slice(0, 200)}` };
  }
}

function textOf({ choices }: Payload): string {
  return choices?.[0]?.text ?? choices?.[0]?.delta?.content ?? "";
}
