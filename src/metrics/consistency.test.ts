import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { hitRate, Segments, type Srp, type Trace } from "./consistency.js";

/** Values that equal those of the published code: one trace of 256 tokens through each of two mixtures. */

interface GoldenSrp {
  readonly srp: number;
  readonly size_ratio: number | null;
}

interface Golden {
  readonly num_experts: number;
  readonly layers: readonly number[];
  readonly trace: Readonly<Record<string, Trace>>;
  readonly srp: Readonly<
    Record<
      string,
      {
        readonly model: GoldenSrp;
        readonly layer: Readonly<Record<string, GoldenSrp>>;
        readonly expert: Readonly<Record<string, readonly GoldenSrp[]>>;
      }
    >
  >;
  readonly sch: readonly (Readonly<Record<string, number>> & {
    readonly layer: number;
    readonly capacity: number;
  })[];
}

const folder = new URL("../../../test/fixtures/traces/", import.meta.url);
const goldens = readdirSync(folder).map((file) => ({
  file,
  golden: JSON.parse(readFileSync(new URL(file, folder), "utf8")) as Golden,
}));

const near = (got: number | null, want: number | null | undefined, what: string) =>
  assert.ok(
    got === want || Math.abs((got ?? Number.NaN) - (want ?? Number.NaN)) <= 1e-6,
    `${what}: ${got}, not ${want}`,
  );

function same({ srp, sizeRatio }: Srp, want: GoldenSrp, what: string): void {
  near(srp, want.srp, `${what} srp`);
  near(sizeRatio, want.size_ratio, `${what} size ratio`);
}

describe("routing consistency", () => {
  for (const { file, golden } of goldens) {
    const experts = Array.from({ length: golden.num_experts }, (_, expert) => expert);

    it(`is the published code's in ${file}, by expert, layer and model`, () => {
      for (const [length, want] of Object.entries(golden.srp)) {
        const model = new Segments(Number(length));
        for (const layer of golden.layers) {
          const trace = golden.trace[layer]!;
          const whole = new Segments(Number(length));
          for (const expert of experts) {
            const one = new Segments(Number(length));
            for (const segments of [one, whole, model]) segments.add(trace, expert);
            same(one.best(), want.expert[layer]![expert]!, `${length} ${layer} ${expert}`);
          }
          same(whole.best(), want.layer[layer]!, `${length} ${layer}`);
        }
        same(model.best(), want.model, length);
      }
    });

    it(`gives caches the published code's hit rates in ${file}`, () => {
      let compared = 0;
      for (const { layer, capacity, rho, lru, ...others } of golden.sch) {
        const trace = golden.trace[layer]!;
        const what = `layer ${layer}, rho ${rho}`;
        near(hitRate(trace, capacity, null), lru, `${what}, lru`);
        for (const [key, want] of Object.entries(others)) {
          const segment = /^sch_(\d+)$/.exec(key)?.[1];
          if (segment === undefined) continue;
          near(hitRate(trace, capacity, Number(segment)), want, `${what}, ${key}`);
          compared += 1;
        }
      }
      assert.ok(compared >= 24);
    });
  }

  it("is perfect where every token takes the same experts, and a cache of those never misses", () => {
    const trace = Array.from({ length: 40 }, () => [2, 0]);
    const segments = new Segments(8);
    for (const expert of [0, 1, 2, 3]) segments.add(trace, expert);
    assert.deepEqual(segments.best(), { srp: 1, sizeRatio: 1 });
    assert.equal(hitRate(trace, 2, 8), 1);
    assert.equal(hitRate(trace, 2, null), 1);
  });

  it("of a text shorter than a segment is not known", () => {
    const segments = new Segments(8);
    segments.add([[0], [0]], 0);
    assert.deepEqual(segments.best(), { srp: 0, sizeRatio: null });
  });
});
