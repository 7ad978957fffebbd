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
  it("is a line at its beginning and its end where there is no terminal, when it is short", () => {
    const output = record(false);
    const progress = createProgress("fetching m", 100e6, output);
    for (let done = 0; done <= 100e6; done += 4e6) progress.update(done);
    progress.end(true);
    assert.match(output.text(), /^fetching m \(100\.0 MB\)\nfetching m: done in 0\.\d s\n$/);
  });

  it("is a line for a tenth now and then when it is long", () => {
    const output = record(false);
    let seconds = 0;
    const progress = createProgress("fetching m", 100e6, output, () => 1000 * seconds);
    for (; seconds <= 10; seconds++) progress.update(seconds * 10e6);
    progress.end(true);
    const tenths = [...output.text().matchAll(/(\d+)%/g)].map((match) => Number(match[1]));
    assert.deepEqual(tenths, [20, 40, 60, 80]);
    assert.match(output.text(), /done in 11\.0 s\n$/);
  });

  it("says nothing of an end that never came", () => {
    const output = record(false);
    const progress = createProgress("m", 10, output);
    progress.update(5);
    progress.end(false);
    assert.equal(output.text(), "m (0.0 MB)\n");
  });

  it("knows no speed at once", () => {
    const output = record(true);
    createProgress("m", 10e6, output).update(5e6);
    assert.doesNotMatch(output.text(), /MB\/s/);
  });

  it("is a bar on a terminal, complete at the end", () => {
    const output = record(true);
    const progress = createProgress("fetching m", 2e6, output);
    progress.update(1e6);
    progress.end(true);
    assert.match(output.text(), /\rfetching m █+░* +\d+% of 2\.0 MB/);
    assert.match(output.text(), /█{30} 100% of 2\.0 MB.*\n$/);
  });

  it("shows bytes alone when the total is not known", () => {
    const output = record(true);
    const progress = createProgress("m", null, output);
    progress.update(3e6);
    progress.end(true);
    assert.match(output.text(), /\rm 3\.0 MB/);
  });
});
