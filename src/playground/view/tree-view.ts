import { visible } from "../format.js";
import type { SubTree } from "../routing.js";
import { layoutTree, type TreeNode, type TreePicture } from "../tree-layout.js";
import { shape } from "./dom.js";

/** Characters of a token above the tree. */
const LONGEST_NAME = 24;
const MOST_RADIUS = 15;
const SHARE_WIDTH = 36;

/** The picture of one token's sub-tree: every expert is there, the way that was taken is bold. */
export function drawTree(tree: SubTree, token: string, place: string, width: number): SVGElement {
  const picture = layoutTree(tree, width);
  const rootLevel = tree.levels[0]!.level;
  const most = Math.max(...picture.edges.map(({ weight }) => Math.abs(weight)), Number.EPSILON);
  const size = nodeSize(picture);
  const classOf = (level: number) => (level === rootLevel ? "root" : "");
  return shape(
    "svg",
    {
      viewBox: `0 0 ${picture.width} ${picture.height}`,
      role: "img",
      "aria-label": describe(tree, token, place),
    },
    ...picture.rows.map(({ level, y }) => shape("text", { x: 0, y: y + 4 }, `level ${level}`)),
    ...picture.edges.map(({ path, level, weight }) =>
      shape("path", {
        d: path,
        class: `edge ${classOf(level)}`,
        "stroke-width": 1.5 + (7 * Math.abs(weight)) / most,
        "stroke-opacity": 0.35 + (0.5 * Math.abs(weight)) / most,
      }),
    ),
    ...picture.nodes.map((node) => drawNode(node, size, classOf(node.level))),
    ...drawTrunk(picture, token),
  );
}

function drawTrunk({ root }: TreePicture, token: string): SVGElement[] {
  const name = shape(
    "text",
    { class: "trunk-name", x: root.x, y: root.y - 13, "text-anchor": "middle" },
    shortened(visible(token)),
  );
  return [shape("circle", { class: "trunk", cx: root.x, cy: root.y, r: 5 }), name];
}

function shortened(text: string): string {
  return text.length <= LONGEST_NAME ? text : `${text.slice(0, LONGEST_NAME - 1)}…`;
}

/** Experts stand beside each other with their shares between them, where there is room for these. */
function nodeSize({ nodes }: TreePicture): { radius: number; told: boolean } {
  const gaps = nodes.flatMap(({ x, y }, i) => {
    const next = nodes[i + 1];
    return next?.y === y ? [next.x - x] : [];
  });
  const gap = Math.min(...gaps, 100);
  const told = gap >= SHARE_WIDTH + 16;
  const radius = told ? (gap - SHARE_WIDTH) / 2 : 0.42 * gap;
  return { radius: Math.min(MOST_RADIUS, radius), told };
}

function drawNode(
  node: TreeNode,
  { radius, told }: ReturnType<typeof nodeSize>,
  levelClass: string,
): SVGElement {
  const { x, y, expert, weight } = node;
  const taken = weight !== 0;
  const group = shape("g", { class: `node ${levelClass} ${taken ? "taken" : ""}` });
  group.append(shape("circle", { cx: x, cy: y, r: radius }));
  if (radius >= 7) group.append(shape("text", { class: "name", x, y: y + 0.5 }, String(expert)));
  if (taken && told) {
    group.append(shape("text", { class: "share", x: x + radius + 4, y: y + 4 }, weight.toFixed(2)));
  }
  return group;
}

/** The same in words. */
function describe({ levels }: SubTree, token: string, place: string): string {
  const rows = levels.map(({ level, nodes }, row) => {
    const above = levels[row - 1]?.nodes;
    const taken = nodes.map(({ expert, score, parent }) => {
      const below = parent === null || above === undefined ? "" : ` below ${above[parent]!.expert}`;
      return `expert ${expert}${below} with ${score.toFixed(2)}`;
    });
    return `Level ${level}: ${taken.join(", ")}.`;
  });
  return `The way of the token “${visible(token)}” in ${place}. ${rows.join(" ")}`;
}
