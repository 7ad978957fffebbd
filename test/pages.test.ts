import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { PageFiles } from "../src/http/page-files.js";
import { apiKey, serve } from "./harness.js";
import { serve as serveTiny } from "./support/command.js";

/** The playground's files, as browsers fetch them. */

const pages = PageFiles.read();

/** Every address that a file of the page names. */
function references(path: string, text: string): string[] {
  const named = [
    ...text.matchAll(/(?:href|src)="(\/[^"]*)"/g),
    ...text.matchAll(/^(?:import|export)[^"]* from "(\.[^"]+)"/gm),
    ...text.matchAll(/^import "(\.[^"]+)"/gm),
  ];
  return named.map(([, address]) => new URL(address!, `http://x${path}`).pathname);
}

describe("the playground page", () => {
  test("every file that it needs is served, with its type", async (test) => {
    const { url } = await serve(test, { options: { pages } });
    const types = {
      html: "text/html",
      css: "text/css",
      js: "text/javascript",
      svg: "image/svg+xml",
    };
    const queue = ["/"];
    const seen = new Set(queue);
    for (const path of queue) {
      const response = await fetch(url + path);
      assert.equal(response.status, 200, path);
      const kind = (path === "/" ? "html" : path.split(".").at(-1)) as keyof typeof types;
      const type = response.headers.get("content-type")?.split(";")[0];
      assert.equal(type, types[kind], path);
      for (const next of references(path, await response.text())) {
        if (seen.has(next)) continue;
        seen.add(next);
        queue.push(next);
      }
    }
    assert.ok(seen.has("/assets/playground/view/tree-view.js"));
    assert.ok(seen.has("/assets/client/event-reader.js"));
  });

  test("a browser that has a file already gets no second copy", async (test) => {
    const { url } = await serve(test, { options: { pages } });
    const first = await fetch(url);
    const version = first.headers.get("etag") ?? "";
    assert.match(version, /^"[\w-]{22}"$/);
    assert.equal(first.headers.get("cache-control"), "no-cache");
    for (const known of [version, `W/${version}`, `"other", ${version}`]) {
      const again = await fetch(url, { headers: { "if-none-match": known } });
      assert.equal(again.status, 304);
      assert.equal(again.headers.get("etag"), version);
      assert.equal(await again.text(), "");
    }
    const other = await fetch(url, { headers: { "if-none-match": '"other"' } });
    assert.equal(other.status, 200);
  });

  test("only the server's own code runs in it, and no other page can frame it", async (test) => {
    const { url } = await serve(test, { options: { pages } });
    const { headers } = await fetch(url);
    const policy = headers.get("content-security-policy") ?? "";
    assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.doesNotMatch(policy, /unsafe|http|\*/);
    assert.equal(headers.get("x-content-type-options"), "nosniff");
  });

  test("it needs no key, HEAD has no body, and what is not part of it is not there", async (test) => {
    const { url } = await serve(test, {
      options: { pages, apiKeys: [apiKey("sk-1")] },
    });
    const head = await fetch(url, { method: "HEAD" });
    assert.equal(head.status, 200);
    assert.equal(await head.text(), "");
    for (const path of [
      "/assets/",
      "/assets/playground/",
      "/assets/playground/routing.test.js",
      "/assets/client/../log.js",
      "/assets/client/%2e%2e/log.js",
      "/index.html",
    ]) {
      assert.equal((await fetch(url + path)).status, 404, path);
    }
  });

  test("--no-playground leaves it out", async (test) => {
    const { url } = await serveTiny(test, ["--no-playground"]);
    const response = await fetch(url);
    assert.equal(response.status, 404);
    assert.match(await response.text(), /There is nothing at \/\./);
    assert.equal((await fetch(`${url}/assets/playground/theme.css`)).status, 404);
    const { url: open } = await serveTiny(test, []);
    assert.match(await (await fetch(open)).text(), /<title>smore playground<\/title>/);
  });
});
