import { randomBytes } from "node:crypto";
import type { ToolFormat } from "../text/tool-format.js";
import { triggerOf } from "./tools.js";

/** What one piece of an answer adds to one of its calls. */
export interface CallDelta {
  readonly index: number;
  /** With the first delta of a call. */
  readonly opening: { readonly id: string; readonly name: string } | null;
  readonly arguments: string;
}

export interface ReadPiece {
  readonly text: string;
  readonly calls: readonly CallDelta[];
}

/** A call, put together. */
export interface WholeCall {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

/**
 * Tells calls from text in an answer that arrives in pieces. The grammar has seen to their form, so this
 * only follows it: `open`, the head with the name, the arguments, `close`, a line break, the next.
 */
export class ToolCallReader {
  readonly #format: ToolFormat;
  readonly #head: RegExp;
  #state: "start" | "text" | "head" | "arguments" | "tail" = "start";
  #held = "";
  #calls = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;

  constructor(format: ToolFormat) {
    this.#format = format;
    const open = format.open.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&");
    this.#head = new RegExp(
      `^\\n?${open}\\{"name": ?"([^"]*)", ?"${format.argumentsKey}": ?(?=\\{)`,
    );
  }

  /** Calls that have begun. */
  get calls(): number {
    return this.#calls;
  }

  push(piece: string): ReadPiece {
    if (this.#state === "text") return { text: piece, calls: [] };
    this.#held += piece;
    if (this.#held === "") return { text: "", calls: [] };
    if (this.#state === "start") {
      const isCall = this.#held[0] === triggerOf(this.#format);
      this.#state = isCall ? "head" : "text";
      if (!isCall) return { text: this.#take(this.#held.length), calls: [] };
    }
    const calls: CallDelta[] = [];
    while (this.#step(calls));
    return { text: "", calls };
  }

  /** Follows the answer as far as one state goes; false when it needs more text. */
  #step(calls: CallDelta[]): boolean {
    switch (this.#state) {
      case "head": {
        const head = this.#head.exec(this.#held);
        if (head === null) return false;
        this.#take(head[0].length);
        const opening = { id: `call_${randomBytes(12).toString("hex")}`, name: head[1]! };
        calls.push({ index: this.#calls++, opening, arguments: "" });
        this.#state = "arguments";
        return true;
      }
      case "arguments": {
        const text = this.#take(this.#argumentsEnd());
        if (text !== "") this.#addArguments(calls, text);
        if (this.#depth > 0 || text === "") return false;
        this.#state = "tail";
        return true;
      }
      case "tail": {
        const tail = 1 + this.#format.close.length; // the call's own brace
        if (this.#held.length < tail) return false;
        this.#take(tail);
        this.#state = "head";
        return true;
      }
      default:
        return false;
    }
  }

  /** To the delta that opened the call, where that is new too. */
  #addArguments(calls: CallDelta[], text: string): void {
    const index = this.#calls - 1;
    const last = calls.at(-1);
    if (last?.index === index) calls.splice(-1, 1, { ...last, arguments: last.arguments + text });
    else calls.push({ index, opening: null, arguments: text });
  }

  /** How much of what is held belongs to the arguments. */
  #argumentsEnd(): number {
    for (let i = 0; i < this.#held.length; i++) {
      const char = this.#held[i];
      if (this.#escaped) this.#escaped = false;
      else if (char === "\\") this.#escaped = this.#inString;
      else if (char === '"') this.#inString = !this.#inString;
      else if (this.#inString) continue;
      else if (char === "{" || char === "[") this.#depth++;
      else if ((char === "}" || char === "]") && --this.#depth === 0) return i + 1;
    }
    return this.#held.length;
  }

  #take(length: number): string {
    const taken = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return taken;
  }
}

/** Calls put together from all deltas of an answer. */
export function wholeCalls(deltas: readonly CallDelta[]): WholeCall[] {
  const calls: { id: string; name: string; arguments: string }[] = [];
  for (const { index, opening, arguments: text } of deltas) {
    if (opening !== null) calls[index] = { ...opening, arguments: "" };
    calls[index]!.arguments += text;
  }
  return calls;
}
