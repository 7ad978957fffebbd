import assert from "node:assert/strict";
import { test } from "node:test";
import { type RoutedAdapter, Routing, type RoutingFields } from "./routing.js";

/** An answer of two tokens in three linears of two layers, as a server sends it. */
const LEGAL: RoutedAdapter = {
  name: "legal",
  scale: 1,
  levels: [
    { experts: 4, active: 2 },
    { experts: 3, active: 2 },
  ],
  linears: [
    { layer: 3, name: "gate_proj" },
    { layer: 3, name: "up_proj" },
    { layer: 9, name: "gate_proj" },
  ],
};
const route = (leaves: number[], roots: number[]) => [
  { experts: leaves, scores: [0.75, 0.25, 0.5, 0.5] },
  { experts: roots, scores: [0.6, 0.4] },
];
const FIRST: RoutingFields = {
  adapters: [LEGAL],
  tokens: [
    {
      id: 7,
      routes: [
        [route([0, 3, 1, 0], [2, 1]), route([1, 2, 1, 3], [0, 1]), route([2, 3, 2, 1], [0, 2])],
      ],
    },
  ],
};
const SECOND: RoutingFields = {
  tokens: [
    {
      id: 2,
      routes: [
        [route([0, 1, 2, 3], [2, 0]), route([0, 1, 0, 1], [1, 2]), route([0, 1, 2, 3], [1, 2])],
      ],
    },
  ],
};

test("a token's sub-tree has every chosen expert below the one that chose it, root first", () => {
  const routing = new Routing();
  routing.add(FIRST);
  assert.deepEqual(routing.subTree(0, 0), {
    levels: [
      {
        level: 1,
        experts: 3,
        nodes: [
          { expert: 2, score: 0.6, parent: null },
          { expert: 1, score: 0.4, parent: null },
        ],
      },
      {
        level: 0,
        experts: 4,
        nodes: [
          { expert: 0, score: 0.75, parent: 0 },
          { expert: 3, score: 0.25, parent: 0 },
          { expert: 1, score: 0.5, parent: 1 },
          { expert: 0, score: 0.5, parent: 1 },
        ],
      },
    ],
  });
  assert.equal(routing.subTree(1, 0), null, "that token has not come yet");
});

test("the heat of a kind of linear counts how often each expert was taken, by layer and level", () => {
  const routing = new Routing();
  routing.add(FIRST);
  routing.add(SECOND);
  assert.equal(routing.tokens.length, 2);
  assert.deepEqual(routing.heat("gate_proj"), {
    layers: [3, 9],
    levels: [
      {
        level: 1,
        shares: [
          [1 / 4, 1 / 4, 2 / 4],
          [1 / 4, 1 / 4, 2 / 4],
        ],
      },
      {
        level: 0,
        shares: [
          [3 / 8, 2 / 8, 1 / 8, 2 / 8],
          [1 / 8, 2 / 8, 3 / 8, 2 / 8],
        ],
      },
    ],
  });
});

test("the base alone and plain LoRA have no adapter to show", () => {
  const base = new Routing();
  base.add({ adapters: [], tokens: [{ id: 1, routes: [] }] });
  assert.equal(base.adapter, undefined);
  assert.equal(base.subTree(0, 0), null);

  const plain = { name: "plain", scale: 1, levels: [], linears: [] };
  const mixed = new Routing();
  mixed.add({
    adapters: [plain, LEGAL],
    tokens: [{ id: 1, routes: [[], FIRST.tokens[0]!.routes[0]!] }],
  });
  assert.equal(mixed.adapter?.name, "legal");
  assert.equal(mixed.subTree(0, 2)?.levels[0]?.nodes[1]?.expert, 2);
});
