import { serverError } from "./server.js";

/** Characters of an event, at most: what is longer is none of this server's. */
export const LONGEST_EVENT = 1 << 24;

/** An empty line, which ends an event. */
const END = /\r?\n\r?\n/g;
const END_LENGTH = 4;

/** The data of server-sent events, from text that comes in pieces cut anywhere. Comments are passed over. */
export class EventReader {
  /** The event that is not complete yet, in pieces: each is looked at once, and joined when it ends. */
  #pieces: string[] = [];
  #length = 0;
  /** The last characters of the pieces, which may be the first of an end. */
  #tail = "";

  /** The data of the events that `text` completes. Throws ServerError for an event that is too long. */
  push(text: string): string[] {
    const seen = this.#tail + text;
    const found: string[] = [];
    let from = this.#tail.length; // of what is not taken yet
    let past = 0; // the last end
    for (const end of seen.matchAll(END)) {
      past = end.index + end[0].length;
      this.#keep(seen.slice(from, past));
      from = past;
      found.push(...dataOf(this.#pieces.join("")));
      this.#pieces = [];
      this.#length = 0;
    }
    this.#keep(seen.slice(from));
    this.#tail = seen.slice(Math.max(past, seen.length - END_LENGTH + 1));
    return found;
  }

  #keep(piece: string): void {
    this.#length += piece.length;
    if (this.#length > LONGEST_EVENT) {
      const message = `an event of the answer is longer than ${LONGEST_EVENT} characters`;
      throw serverError(0, { message, code: null, param: null });
    }
    this.#pieces.push(piece);
  }
}

/** Nothing for a comment; lines of data belong together. */
function dataOf(event: string): string[] {
  const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.length === 0 ? [] : [lines.map((line) => line.replace(/^data: ?/, "")).join("\n")];
}
