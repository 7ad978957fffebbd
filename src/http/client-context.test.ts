import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeGenerator, fakeContext } from "../engine/fake.js";
import { type Mix, mixOf } from "../scheduler/mix.js";
import { RequestTrace } from "../telemetry/request-trace.js";
import type { Operation } from "../telemetry/tracing.js";
import { clientContext } from "./client-context.js";

/** What a trace is told of a generation. */
function operationOf(model: string, mix: Mix): Operation {
  const trace = new RequestTrace("request", null);
  let told: Operation | undefined;
  trace.follow = (generator, operation) => {
    told = operation(mix);
    return generator;
  };
  const sender = { account: null, trace, gone: new AbortController().signal };
  clientContext(sender, "chat", { model }, fakeContext(new FakeGenerator()));
  return told!;
}

test("a trace names the adapter, also where the server chose it", () => {
  assert.deepEqual(operationOf("tuned", mixOf(1)).adapters, ["tuned"]);
  assert.deepEqual(operationOf("fake", mixOf(0)).adapters, []);
  const chosen = operationOf("auto", mixOf(1));
  assert.deepEqual([chosen.model, chosen.adapters], ["auto", ["tuned"]]);
});
