import type { Server } from "../../client/server.js";
import { readConfig } from "../../config.js";
import type { Terminal } from "../command.js";
import { UsageError } from "../options.js";
import { Service } from "../serve.js";

/** A server in this very process, on a port of this machine that the system chooses. */
export interface EmbeddedServer {
  readonly server: Server;
  /** Resolves when everything is closed. */
  stop(): Promise<void>;
}

/** Resolves when it can be asked. `options`: those of `smore serve`. Throws as that command does. */
export async function startEmbedded(
  options: readonly string[],
  terminal: Terminal,
): Promise<EmbeddedServer> {
  const own = ["--host", "127.0.0.1", "--port", "0", "--log-level", "warn", "--no-playground"];
  const config = readConfig([...options, ...own], openServer(terminal.environment));
  if (config === null) throw new UsageError("smore chat --help tells its own options");
  const stop = new AbortController();
  let ended: Promise<number> | undefined;
  const port = await new Promise<number>((resolve, reject) => {
    const service = new Service(config, {
      drainSignal: () => stop.signal,
      endBy: terminal.endBy,
      onHangup: terminal.onHangup,
      ready: (facts) => resolve(facts.port),
    });
    ended = service.run();
    ended.catch(reject);
  });
  return {
    server: { url: `http://127.0.0.1:${port}`, key: null },
    stop: async () => {
      stop.abort("SIGTERM");
      await ended;
    },
  };
}

/** What protects a server from others: the only client is this program. */
const PROTECTION = ["SMORE_API_KEY", "SMORE_API_KEY_FILE", "SMORE_TLS_CERT", "SMORE_TLS_KEY"];

function openServer(environment: Terminal["environment"]): Terminal["environment"] {
  const without = PROTECTION.map((name) => [name, undefined] as const);
  return { ...environment, ...Object.fromEntries(without) };
}
