import { ApiError } from "../errors.js";
import type { ApiContext, Lifecycle } from "./context.js";

/** GET /livez, /readyz, /health: what orchestrators and routers ask. A full queue is not unready. */

export interface Health {
  readonly status: 200 | 503;
  readonly body: { readonly status: string; readonly progress?: number; readonly detail?: string };
}

export function readiness({ phase, progress, detail }: Lifecycle): Health {
  switch (phase) {
    case "ready":
      return { status: 200, body: { status: "ok" } };
    case "loading":
      return { status: 503, body: { status: "loading", progress, detail } };
    case "draining":
      return { status: 503, body: { status: "draining" } };
    case "failed":
      return { status: 503, body: { status: "failed", detail } };
  }
}

/** What handlers work with. Throws ApiError while there is nothing to work with. */
export function requireContext({ phase, progress, detail, context }: Lifecycle): ApiContext {
  if (phase === "failed") {
    throw new ApiError("engine_stopped", { message: `The engine has stopped: ${detail}` });
  }
  if (context !== null) return context;
  const percent = Math.floor(progress * 100);
  const message = `The model is still loading (${percent}%${detail === "" ? "" : `, ${detail}`}).`;
  throw new ApiError("loading", { message });
}
