import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { heatMap } from "./heat-map.js";
import { readRouting } from "./routing.js";
import { describeRouting } from "./routing-report.js";

const folder = mkdtempSync(join(tmpdir(), "smore-routing-"));
after(() => rmSync(folder, { recursive: true }));

function file(text: string): string {
  const path = join(folder, "answers.jsonl");
  writeFileSync(path, text);
  return path;
}

const LEVELS = [
  { experts: 4, active: 2 },
  { experts: 3, active: 1 },
];
const LINEARS = [
  { layer: 7, name: "up_proj" },
  { layer: 9, name: "up_proj" },
];

/** Tokens take root `token % 2`, leaves that and 3, in layer 9 always root 2 and leaf 0 twice. */
function answer(tokens: number, adapter = "tree"): object {
  const routes = (token: number) => [
    [
      { experts: [token % 2, 3], scores: [0.5, 0.5] },
      { experts: [token % 2], scores: [1] },
    ],
    [
      { experts: [0, 0], scores: [0.5, 0.5] },
      { experts: [2], scores: [1] },
    ],
  ];
  const all = Array.from({ length: tokens }, (_, token) => ({ id: 5, routes: [routes(token)] }));
  const adapters = [{ name: adapter, scale: 1, levels: LEVELS, linears: LINEARS }];
  return { choices: [{ index: 0, routing: { layers: [7, 9], adapters, tokens: all } }] };
}

const jsonl = (answers: readonly object[]) => answers.map((a) => JSON.stringify(a)).join("\n");

describe("the routing of saved answers", () => {
  it("is counted by linear and level, over all answers", () => {
    const [survey, second] = readRouting(file(jsonl([answer(4), answer(2)])));
    assert.equal(second, undefined);
    const { adapter, answers, tokens, levels, places } = survey!;
    assert.deepEqual([adapter, answers, tokens, levels], ["tree", 2, 6, 2]);
    assert.deepEqual(
      places.map(({ layer, level, counts }) => [layer, level, ...counts]),
      [
        [7, 0, 3, 3, 0, 6],
        [7, 1, 3, 3, 0],
        [9, 0, 12, 0, 0, 0],
        [9, 1, 0, 0, 6],
      ],
    );
    assert.deepEqual(places[2]!.traces[1], [[0], [0]]); // each expert once a token
  });

  it("is told by level and layer, with the dead experts and what a cache would hold", () => {
    const [survey] = readRouting(file(JSON.stringify(answer(40))));
    const lines = describeRouting(survey!);
    assert.equal(lines[0], "tree: 1 answers, 40 tokens, 2 trees");
    const root = lines.indexOf(
      "root: experts chosen, in % of the choices of all trees:  25.0  25.0  50.0",
    );
    assert.ok(root > 0, lines.join("\n"));
    assert.equal(lines[root + 1], "  3 of 6 experts never chosen");
    assert.ok(lines.includes("      7     0.631   50.0  50.0   0.0"), lines.join("\n"));
    assert.ok(lines.includes("      9     0.000    0.0   0.0 100.0"));
    assert.ok(lines.some((line) => line.startsWith("  2 of 3 hold 95 % of the uses")));
  });

  it("is drawn with a cell for every layer, level and expert", () => {
    const [survey] = readRouting(file(JSON.stringify(answer(4, "a < b"))));
    const picture = heatMap(survey!);
    assert.equal(picture.match(/<title>/g)?.length, 2 * (4 + 3));
    assert.match(picture, /fill-opacity="1\.000"[^>]*><title>layer 9, expert 2: 100\.0 %/);
    assert.match(picture, /a &lt; b: experts chosen/);
  });

  it("is asked for where a file has none, and bad lines are named", () => {
    assert.throws(() => readRouting(file('{"choices": [{"text": "a"}]}')), /tells of no routing/);
    assert.throws(() => readRouting(file('{"choices": []}\n{')), /line 2: is not JSON/);
  });
});
