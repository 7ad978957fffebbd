import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { linePlot, niceTicks } from "./plot.js";

const finite = fc.integer({ min: -1e9, max: 1e9 }).map((value) => value / 1000);

test("ticks cover their range evenly, and are few", () => {
  fc.assert(
    fc.property(finite, finite, (a, b) => {
      const [low, high] = [Math.min(a, b), Math.max(a, b)];
      const ticks = niceTicks(low, high);
      const step = ticks[1]! - ticks[0]!;
      assert.ok(ticks.length >= 2 && ticks.length <= 11, `${ticks.length} ticks`);
      assert.ok(ticks[0]! <= low + 1e-6 * step && ticks.at(-1)! >= high - 1e-6 * step);
    }),
  );
});

test("every point lies inside the picture, and names cannot break out of it", () => {
  const points = fc.array(fc.tuple(finite.map(Math.abs), finite.map(Math.abs)), { minLength: 1 });
  fc.assert(
    fc.property(points, fc.string(), (each, name) => {
      const svg = linePlot({
        title: name,
        xLabel: "x",
        yLabel: "y",
        series: [
          { name: `<script>${name}`, points: each },
          { name: "&", points: [] },
        ],
      });
      assert.ok(!svg.includes("<script"));
      const height = Number(/ height="(\d+)"/.exec(svg)![1]);
      for (const [, x, y] of svg.matchAll(/cx="([^"]+)" cy="([^"]+)"/g)) {
        assert.ok(Number(x) >= 0 && Number(x) <= 720 && Number(y) >= 0 && Number(y) <= height);
      }
    }),
  );
});
