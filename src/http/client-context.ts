import type { ApiContext } from "../api/context.js";
import type { JsonObject } from "../api/schema.js";
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
  const base = context.models.base.name;
  const operation = () => {
    const model = typeof body.model === "string" ? body.model : base;
    return { kind, model, adapter: model === base ? null : model };
  };
  return { ...billed, generator: trace.follow(billed.generator, operation) };
}
