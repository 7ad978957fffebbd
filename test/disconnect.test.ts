import assert from "node:assert/strict";
import { connect } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { nativeModule } from "../src/engine/engine.js";
import { fakeContext } from "../src/engine/fake.js";
import { type NativeEngine, STATS } from "../src/engine/native.js";
import { createLogger } from "../src/log.js";
import { Metrics } from "../src/metrics/metrics.js";
import { EngineLoop } from "../src/scheduler/loop.js";
import { serve } from "./harness.js";
import { TINY } from "./support/command.js";

/** Clients that leave, with the real engine, its loop and a real socket in one process: steps can be counted. */

const MIB = 2 ** 20;

async function serveTiny(context: TestContext) {
  const engine = await nativeModule().loadEngine(
    {
      modelPath: join(TINY, "model"),
      threads: 1,
      maxModelLen: 0,
      maxBatch: 8,
      maxBatchTokens: 64,
      kvMemory: 16 * MIB,
      adapterMemory: 16 * MIB,
      gpuAdapterMemory: 16 * MIB,
      gpuProducts: "invariant",
      cublaslt: "",
      maxLoadedAdapters: 1,
      activations: "fp32",
      adapterDtype: "stored",
      quantize: "none",
      profile: false,
      device: "cpu",
      kernelPath: "",
    },
    () => {},
  );
  const loop = new EngineLoop({
    engine,
    metrics: new Metrics(),
    log: createLogger("silent"),
    queue: { requests: 100, tokens: 10_000 },
    adapterWaitMs: 1000,
  });
  const running = loop.run();
  const { maxModelLen, vocab } = engine.info;
  const { port } = await serve(context, {
    context: () => fakeContext(loop, { maxModelLen, vocab }),
  });
  context.after(async () => {
    loop.drain();
    await running;
    await engine.close();
  });
  return { engine, loop, port };
}

function stepsOf(engine: NativeEngine): number {
  const stats = new Float64Array(STATS.length);
  engine.stats(stats);
  return stats[STATS.indexOf("steps")]!;
}

const BODY = JSON.stringify({
  ...{ model: "fake", prompt: [1, 2, 3], max_tokens: 200, ignore_eos: true, stream: true, n: 4 },
});

/** The engine's steps at the moment at which the kernel has the end of the connection. */
function leaveMidStream(port: number, events: number, engine: NativeEngine): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    socket.write(
      `POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
    );
    let seen = 0;
    socket.on("error", reject);
    socket.on("data", (data) => {
      seen += data.toString("latin1").split("data: ").length - 1;
      if (seen < events) return;
      socket.destroy(); // closes the descriptor before it returns
      resolve(stepsOf(engine));
    });
  });
}

test("a client that leaves is in no step but the one that runs and the one that is queued", async (context) => {
  const { engine, loop, port } = await serveTiny(context);
  for (let client = 0; client < 50; client++) {
    const steps = await leaveMidStream(port, 1 + (client % 25), engine);
    while (!loop.scheduler.idle) await new Promise(setImmediate);
    const more = stepsOf(engine) - steps;
    assert.ok(more <= 2, `${more} steps after client ${client} had left`);
  }
});
