import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeGenerator, fakeContext } from "../engine/fake.js";
import type { EngineInfo } from "../engine/native.js";
import { banner } from "./banner.js";

const text = (adapters: readonly string[], keys = false) => {
  const context = fakeContext(new FakeGenerator({}), {}, adapters);
  const info = { device: "cpu", kernelPath: "portable", threads: 1 } as EngineInfo;
  return banner({ scheme: "http", host: "0.0.0.0", port: 80, seconds: 1, context, info, keys });
};

test("the banner shows a request to the adapter that comes with the default model when it is served", () => {
  const curls = (banner: string) => banner.match(/curl http:\/\/127\.0\.0\.1:80\/v1\//g)?.length;
  assert.equal(curls(text([])), 1);
  assert.equal(curls(text(["function-calls"])), 2);
  assert.match(text(["function-calls"]), /"model":"function-calls".*25 minute timer/);
});

test("where clients need a key, the requests that it shows have a place for one", () => {
  const places = (banner: string) => banner.match(/-H 'Authorization: Bearer YOUR_KEY'/g)?.length;
  assert.equal(places(text(["function-calls"])), undefined);
  assert.equal(places(text(["function-calls"], true)), 2);
});
