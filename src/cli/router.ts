import { fileURLToPath } from "node:url";
import type { ModelRegistry } from "../api/context.js";
import type { Config } from "../config.js";
import { EncoderThread } from "../encoders/encoder.js";
import type { Logger } from "../log.js";
import { Router, type RouterOptions } from "../router/router.js";
import { CommandError } from "./command.js";

/** The encoder that comes with the server, seen from dist/src/cli. */
const OWN_ENCODER = fileURLToPath(new URL("../../../models/router", import.meta.url));

/** What serves `model: "auto"`; null where it is switched off. Throws CommandError where a named encoder is none. */
export async function createRouter(
  { noRouter, routerEncoder, routerThreshold, routerFallback }: Config,
  threads: number,
  onChoice: RouterOptions["onChoice"],
  log: Logger,
): Promise<Router | null> {
  if (noRouter) return null;
  const router = new Router({
    start: (onFault) => EncoderThread.start(routerEncoder ?? OWN_ENCODER, threads, onFault),
    threshold: routerThreshold,
    fallback: routerFallback,
    onChoice,
    onFault: ({ message }) => log.warn(`model "auto" is not served: ${message}`),
  });
  if (routerEncoder === null) return router;
  await router.start().catch(({ message }: Error) => {
    throw new CommandError(`--router-encoder ${routerEncoder}: ${message}`);
  });
  return router;
}

/** To be called when the adapters are loaded. Throws CommandError. */
export function checkFallback({ routerFallback: name }: Config, models: ModelRegistry): void {
  if (name === null || models.find(name) !== undefined) return;
  const served = models.list().map((model) => model.name);
  throw new CommandError(`--router-fallback ${name}: there is only ${served.join(", ")}`);
}
