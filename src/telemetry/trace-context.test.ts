import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readTraceContext, traceparent, unrecordedChild } from "./trace-context.js";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";

test("a traceparent names the caller's span", () => {
  assert.deepEqual(readTraceContext(`00-${TRACE}-${SPAN}-01`, "vendor=x"), {
    traceId: TRACE,
    spanId: SPAN,
    sampled: true,
    state: "vendor=x",
  });
  assert.equal(readTraceContext(`00-${TRACE}-${SPAN}-02`, "")?.sampled, false);
  assert.equal(readTraceContext(`01-${TRACE}-${SPAN}-03-more`, "")?.sampled, true);
});

test("what is malformed counts as none", () => {
  for (const wrong of [
    "",
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-01-more`,
    `ff-${TRACE}-${SPAN}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    ` 00-${TRACE}-${SPAN}-01`,
  ]) {
    assert.equal(readTraceContext(wrong, ""), null, wrong);
  }
  assert.equal(readTraceContext(`00-${TRACE}-${SPAN}-01`, "a=\u0001")?.state, "");
  assert.equal(readTraceContext(`00-${TRACE}-${SPAN}-01`, "a".repeat(513))?.state, "");
});

test("whatever a header holds, what is given back can be read again", () => {
  const hex = (length: number) =>
    fc
      .array(fc.constantFrom(..."0123456789abcdef"), { minLength: length, maxLength: length })
      .map((digits) => digits.join(""));
  const header = fc.oneof(
    fc.string(),
    fc.tuple(hex(2), hex(32), hex(16), hex(2)).map((parts) => parts.join("-")),
  );
  fc.assert(
    fc.property(header, fc.string(), (given, state) => {
      const parent = readTraceContext(given, state);
      if (parent === null) return;
      const child = unrecordedChild(parent);
      assert.notEqual(child.spanId, parent.spanId);
      assert.deepEqual(readTraceContext(traceparent(child), child.state), child);
    }),
  );
});
