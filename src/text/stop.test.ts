import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { StopMatcher } from "./stop.js";

function run(stops: readonly string[], pieces: readonly string[]) {
  const matcher = new StopMatcher(stops);
  let shown = "";
  for (const piece of pieces) {
    const { text, stop } = matcher.push(piece);
    shown += text;
    if (stop !== null) return { shown, stop };
  }
  return { shown: shown + matcher.flush(), stop: null };
}

/** The definition: the first end at which some stop string ends, and the longest that ends there. */
function expected(stops: readonly string[], text: string) {
  for (let end = 1; end <= text.length; end++) {
    const ending = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    const stop = ending.sort((a, b) => b.length - a.length)[0];
    if (stop !== undefined) return { shown: text.slice(0, end - stop.length), stop };
  }
  return { shown: text, stop: null };
}

describe("stop strings", () => {
  const letters = (maxLength: number, minLength = 0) =>
    fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength, maxLength });
  const stops = fc.array(letters(5, 1), { maxLength: 4 });

  it("are found at the same place however the text is cut", () => {
    fc.assert(
      fc.property(stops, fc.array(letters(6), { maxLength: 12 }), (list, pieces) => {
        assert.deepEqual(run(list, pieces), expected(list, pieces.join("")));
      }),
      { numRuns: 5000 },
    );
  });

  it("leak nothing: what is shown can always still be followed by the whole stop string", () => {
    fc.assert(
      fc.property(stops, fc.array(letters(3), { maxLength: 12 }), (list, pieces) => {
        const matcher = new StopMatcher(list);
        let shown = "";
        let read = "";
        for (const piece of pieces) {
          const { text, stop } = matcher.push(piece);
          shown += text;
          read += piece;
          if (stop !== null) return;
          const open = list.flatMap((s) => [...s].map((_, n) => s.slice(0, n)));
          const held = Math.max(0, ...open.filter((s) => read.endsWith(s)).map((s) => s.length));
          assert.equal(shown, read.slice(0, read.length - held));
        }
      }),
      { numRuns: 5000 },
    );
  });

  it("are matched over the borders of pieces", () => {
    assert.deepEqual(run(["\n\n"], ["one\n", "\ntwo"]), { shown: "one", stop: "\n\n" });
    assert.deepEqual(run(["</s>"], ["a<", "/", "b</", "s>"]), { shown: "a</b", stop: "</s>" });
  });

  it("stop nothing when there are none", () => {
    assert.deepEqual(run([], ["a", "b"]), { shown: "ab", stop: null });
  });
});
