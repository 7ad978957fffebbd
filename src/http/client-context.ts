import type { AdapterRouter, ApiContext } from "../api/context.js";
import { mixedNames } from "../api/mixing.js";
import type { JsonObject } from "../api/schema.js";
import { AUTO_MODEL } from "../config.js";
import { handlesOf, type Mix } from "../scheduler/mix.js";
import type { RequestTrace } from "../telemetry/request-trace.js";
import type { Operation } from "../telemetry/tracing.js";
import { type Account, onBillOf } from "./account.js";

/** Who sent a request, or a frame of a WebSocket. */
export interface Sender {
  readonly account: Account | null;
  readonly trace: RequestTrace;
  /** Aborted when it has left. */
  readonly gone: AbortSignal;
}

/**
 * What the handler of one request works with: its generations are on its account's bill and in its trace, and no adapter
 * is looked for when its client has left.
 */
export function clientContext(
  { account, trace, gone }: Sender,
  kind: Operation["kind"],
  body: JsonObject,
  context: ApiContext,
): ApiContext {
  const billed = onBillOf(account, context);
  const { models } = context;
  const operation = (mix: Mix) => {
    const model = typeof body.model === "string" ? body.model : models.base.name;
    const listed = model === AUTO_MODEL ? models.list().map(({ name }) => name) : [];
    const named = [model, ...mixedNames(body), ...listed];
    const names = new Map(named.map((name) => [models.find(name)?.adapter, name] as const));
    return { kind, model, adapters: handlesOf(mix).flatMap((handle) => names.get(handle) ?? []) };
  };
  const generator = trace.follow(billed.generator, operation);
  return { ...billed, generator, router: routerFor(gone, context.router) };
}

function routerFor(gone: AbortSignal, router: AdapterRouter | null): AdapterRouter | null {
  if (router === null) return null;
  return {
    get ready() {
      return router.ready;
    },
    get broken() {
      return router.broken;
    },
    root: router.root,
    choose: (texts, models) => router.choose(texts, models, gone),
  };
}
