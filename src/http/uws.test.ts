import assert from "node:assert/strict";
import { test } from "node:test";
import { loadUws } from "./uws.js";

test("a build that runs here is found", () => {
  assert.equal(typeof loadUws().App, "function");
});

test("where no build runs, one line says what is needed and why", () => {
  const builds = [
    () => "/nowhere",
    () => {
      throw new Error("Cannot find module 'uws-current'\nRequire stack: ...");
    },
  ];
  assert.throws(
    () => loadUws(builds),
    ({ message }: Error) =>
      /^the HTTP server needs a native module .* use Node\.js 20, .*\/nowhere.*; Cannot find module 'uws-current'\)$/.test(
        message,
      ),
  );
});
