import type { ApiContext } from "../api/context.js";
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
}

/** What the handler of one request works with: its generations are on its account's bill and in its trace. */
export function clientContext(
  { account, trace }: Sender,
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
  return { ...billed, generator: trace.follow(billed.generator, operation) };
}
