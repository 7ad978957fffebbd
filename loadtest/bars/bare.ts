import { parseArgs } from "node:util";
import { loadUws, type UwsResponse } from "../../src/http/uws.js";
import { usageText } from "./usage.js";

/**
 * A process with nothing but uWebSockets: it answers /livez as the server does, and writes to every stream one
 * event per turn of the event loop. What a server on uWebSockets could do at best.
 */

const { values } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string" },
    event: { type: "string", default: "data: x\n\n" },
    events: { type: "string", default: "100" },
    streams: { type: "string", default: "1" },
  },
});
const events = Number(values.events);
const streams = Number(values.streams);
let gathered: UwsResponse[] = [];

/** One event for each of them in every turn. */
function stream(all: readonly UwsResponse[]): void {
  let sent = 0;
  const turn = () => {
    sent += 1;
    for (const response of all) response.cork(() => response.write(values.event));
    if (sent < events) setImmediate(turn);
    else for (const response of all) response.cork(() => response.end("data: [DONE]\n\n"));
  };
  setImmediate(turn);
}

loadUws()
  .App()
  .any("/health", (response) => response.end("{}"))
  .any("/metrics", (response) => response.end(usageText()))
  .any("/livez", (response) => {
    response.writeHeader("Content-Type", "application/json").end('{"status":"ok"}');
  })
  .any("/v1/completions", (response) => {
    response.onAborted(() => process.exit(1));
    response.onData((_, isLast) => {
      if (!isLast) return;
      response.cork(() => response.writeHeader("Content-Type", "text/event-stream"));
      gathered.push(response);
      if (gathered.length < streams) return;
      stream(gathered);
      gathered = [];
    });
  })
  .listen(values.host, Number(values.port), 0, () => {});
