import type { SubTree } from "./routing.js";

/** Where the picture of a sub-tree has its parts. Every level is a row of all its experts. */

export interface TreeNode {
  readonly x: number;
  readonly y: number;
  readonly level: number;
  readonly expert: number;
  /** Share of the token's way that passes here: products of scores from the root, added up. 0 = not chosen. */
  readonly weight: number;
}

export interface TreeEdge {
  readonly path: string; // of an SVG
  readonly level: number; // of its lower end
  readonly weight: number; // as of nodes
}

export interface TreePicture {
  readonly width: number;
  readonly height: number;
  readonly root: { readonly x: number; readonly y: number };
  readonly rows: readonly { readonly level: number; readonly y: number }[];
  readonly nodes: readonly TreeNode[];
  readonly edges: readonly TreeEdge[];
}

const TOP = 26;
const ROW = 88;
const BOTTOM = 20;
const LABELS = 60;
/** Beside the outermost nodes: their halves, and what stands to the right of the last one. */
const LEFT = 18;
const RIGHT = 46;

export function layoutTree({ levels }: SubTree, width: number): TreePicture {
  const root = { x: nodeX(0.5, 2, width), y: TOP };
  const rows = levels.map(({ level }, row) => ({ level, y: TOP + ROW * (row + 1) }));
  const nodes: TreeNode[] = [];
  const edges: TreeEdge[] = [];
  let parents: readonly Entry[] = [{ ...root, weight: 1 }];
  for (const [row, { level, experts, nodes: chosen }] of levels.entries()) {
    const y = rows[row]!.y;
    const place = (expert: number) => nodeX(expert, experts, width);
    const entries = chosen.map(({ expert, score, parent }) => {
      const from = parents[parent ?? 0]!;
      const weight = from.weight * score;
      const to = { x: place(expert), y, weight, expert };
      edges.push({ path: curve(from, to), level, weight });
      return to;
    });
    for (let expert = 0; expert < experts; expert++) {
      const through = entries.filter((entry) => entry.expert === expert);
      const weight = through.reduce((sum, entry) => sum + entry.weight, 0);
      nodes.push({ x: place(expert), y, level, expert, weight });
    }
    parents = entries;
  }
  return { width, height: TOP + ROW * levels.length + BOTTOM, root, rows, nodes, edges };
}

interface Point {
  readonly x: number;
  readonly y: number;
}

interface Entry extends Point {
  readonly weight: number;
}

function nodeX(expert: number, experts: number, width: number): number {
  const room = width - LABELS - LEFT - RIGHT;
  const x = LABELS + LEFT + (experts === 1 ? room / 2 : (room * expert) / (experts - 1));
  return Math.round(10 * x) / 10;
}

function curve(from: Point, to: Point): string {
  const half = (from.y + to.y) / 2;
  return `M${from.x} ${from.y} C${from.x} ${half} ${to.x} ${half} ${to.x} ${to.y}`;
}
