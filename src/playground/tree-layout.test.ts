import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { PathNode, SubTree } from "./routing.js";
import { layoutTree } from "./tree-layout.js";

/** Any tree of one to four levels whose scores add up to 1 below each node. */
const trees: fc.Arbitrary<SubTree> = fc
  .array(
    fc.record({ experts: fc.integer({ min: 1, max: 12 }), chosen: fc.integer({ min: 1, max: 3 }) }),
    {
      minLength: 1,
      maxLength: 4,
    },
  )
  .chain((shapes) => fc.tuple(fc.constant(shapes), fc.infiniteStream(fc.nat(1000))))
  .map(([shapes, numbers]) => {
    let parents = 1;
    const levels = shapes.map(({ experts, chosen: most }, row) => {
      const chosen = Math.min(most, experts);
      const nodes: PathNode[] = Array.from({ length: parents * chosen }, (_, entry) => ({
        expert: (Number(numbers.next().value) + (entry % chosen)) % experts,
        score: 1 / chosen,
        parent: row === 0 ? null : Math.floor(entry / chosen),
      }));
      parents *= chosen;
      return { level: shapes.length - 1 - row, experts, nodes };
    });
    return { levels };
  });

test("every expert has a place of its own within the picture, and every choice a line to it", () => {
  fc.assert(
    fc.property(trees, fc.integer({ min: 280, max: 900 }), (tree, width) => {
      const picture = layoutTree(tree, width);
      const places = new Set(picture.nodes.map(({ x, y }) => `${x},${y}`));
      assert.equal(
        places.size,
        tree.levels.reduce((sum, { experts }) => sum + experts, 0),
      );
      for (const { x, y } of picture.nodes) {
        assert.ok(x > 0 && x < width && y > picture.root.y && y < picture.height);
      }
      for (const [row, { level, nodes }] of tree.levels.entries()) {
        const edges = picture.edges.filter((edge) => edge.level === level);
        assert.equal(edges.length, nodes.length);
        for (const [i, { path }] of edges.entries()) {
          const end = picture.nodes.find(
            (node) => node.level === level && node.expert === nodes[i]!.expert,
          )!;
          assert.ok(path.endsWith(`${end.x} ${end.y}`), `row ${row}: ${path}`);
        }
      }
    }),
  );
});

test("the weights of a level add up to the whole token", () => {
  fc.assert(
    fc.property(trees, (tree) => {
      const { nodes } = layoutTree(tree, 400);
      for (const { level } of tree.levels) {
        const row = nodes.filter((node) => node.level === level);
        const sum = row.reduce((total, { weight }) => total + weight, 0);
        assert.ok(Math.abs(sum - 1) < 1e-9, `level ${level}: ${sum}`);
      }
    }),
  );
});
