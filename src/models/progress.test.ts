import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createProgress } from "./progress.js";

function record(isTTY: boolean) {
  let text = "";
  return {
    isTTY,
    write: (piece: string) => {
      text += piece;
    },
    text: () => text,
  };
}

describe("progress", () => {
  it("is a line for each tenth where there is no terminal", () => {
    const output = record(false);
    const progress = createProgress("fetching m", 100e6, output);
    for (let done = 0; done <= 100e6; done += 4e6) progress.update(done);
    progress.end();
    const lines = output.text().trimEnd().split("\n");
    assert.equal(lines[0], "fetching m (100.0 MB)");
    assert.deepEqual(
      lines.slice(1),
      [10, 20, 30, 40, 50, 60, 70, 80, 90, 100].map((n) => `fetching m: ${n}%`),
    );
  });

  it("is a bar on a terminal, complete at the end", () => {
    const output = record(true);
    const progress = createProgress("fetching m", 2e6, output);
    progress.update(1e6);
    progress.update(2e6);
    progress.end();
    assert.match(output.text(), /\rfetching m █+░* +\d+% of 2\.0 MB /);
    assert.match(output.text(), /█{30} 100% of 2\.0 MB .*\n$/);
  });

  it("shows bytes alone when the total is not known", () => {
    const output = record(true);
    const progress = createProgress("m", null, output);
    progress.update(3e6);
    progress.end();
    assert.match(output.text(), /\rm 3\.0 MB /);
  });
});
