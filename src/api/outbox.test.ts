import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { type ChunkSink, Outbox } from "./outbox.js";

function outbox() {
  const sent: string[] = [];
  const faults: unknown[] = [];
  const sink: ChunkSink = {
    chunk: (chunk) => sent.push(chunk),
    done: () => {},
    fail: () => {},
    room: () => Promise.resolve(),
  };
  return { sent, faults, outbox: new Outbox(sink, (error) => faults.push(error)) };
}

async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000 && !holds(); turn++) await setImmediate();
}

test("a chunk that cannot be made is a fault; what comes behind it goes out, in its order", async () => {
  const { sent, faults, outbox: box } = outbox();
  const fault = new Error("not to be made");
  box.send(false, () => {
    throw fault;
  });
  box.send(true, () => "behind");
  await until(() => faults.length > 0);
  assert.deepEqual(faults, [fault]);
  assert.deepEqual(sent, []);
  box.send(false, () => "last");
  await until(() => sent.length > 1);
  assert.deepEqual(sent, ["behind", "last"]);
});

test("an outbox that was stopped sends nothing more, cheap or not", async () => {
  const { sent, outbox: box } = outbox();
  let made = 0;
  const make = () => String(++made);
  box.send(false, make);
  box.stop();
  box.send(true, make);
  box.send(false, make);
  for (let turn = 0; turn < 10; turn++) await setImmediate();
  assert.deepEqual([made, sent], [0, []]);
});
