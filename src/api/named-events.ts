import { jsonPieces } from "../json/write.js";

/** Server-sent events with names, as the Responses and Messages APIs stream them. */
export function namedEvent(type: string, fields: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
}

/** The same in pieces, of fields that may be long. */
export function* namedEventPieces(type: string, fields: object): Generator<string, void> {
  yield `event: ${type}\ndata: `;
  yield* jsonPieces({ type, ...fields });
  yield "\n\n";
}
