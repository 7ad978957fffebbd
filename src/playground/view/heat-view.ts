import { percent } from "../format.js";
import type { Heat, SubTree } from "../routing.js";
import { shape } from "./dom.js";

const LABELS = 72;
const GAP = 12;
const AXIS = 20;

export interface HeatMarks {
  /** The layer that the tree above shows. */
  readonly layer: number;
  /** The selected token's sub-tree in each column; null where none is selected. */
  readonly taken: readonly (SubTree | null)[];
  readonly onLayer: (layer: number) => void;
}

/** Experts from top to bottom, root level first; layers from left to right. */
export function drawHeat(heat: Heat, marks: HeatMarks, width: number): SVGElement {
  const column = (width - LABELS) / heat.layers.length;
  const height = Math.max(10, Math.min(18, column * 0.9));
  const most = mostOf(heat);
  const parts: SVGElement[] = [];
  let top = 0;
  for (const { level, shares } of heat.levels) {
    const experts = shares[0]?.length ?? 0;
    const y = top;
    parts.push(shape("text", { class: "level", x: 0, y: y + 10 }, `level ${level}`));
    for (const [i, layer] of heat.layers.entries()) {
      const x = LABELS + i * column;
      const taken = marks.taken[i]?.levels.find((one) => one.level === level)?.nodes ?? [];
      for (let expert = 0; expert < experts; expert++) {
        const box = {
          x: x + 0.5,
          y: y + expert * height + 0.5,
          width: column - 1,
          height: height - 1,
        };
        parts.push(
          drawCell(
            box,
            shares[i]![expert]!,
            most,
            () => marks.onLayer(layer),
            `layer ${layer}, level ${level}, expert ${expert}`,
          ),
        );
        if (taken.some((node) => node.expert === expert))
          parts.push(shape("rect", { class: "taken", rx: 2, ...inset(box) }));
      }
    }
    for (let expert = 0; expert < experts; expert++) {
      parts.push(
        shape(
          "text",
          { x: LABELS - 8, y: y + (expert + 0.5) * height + 4, "text-anchor": "end" },
          String(expert),
        ),
      );
    }
    top = y + experts * height + GAP;
  }
  const bottom = top - GAP;
  const chosen = heat.layers.indexOf(marks.layer);
  if (chosen >= 0) {
    parts.push(
      shape("rect", {
        class: "column",
        rx: 4,
        x: LABELS + chosen * column - 1,
        y: -2,
        width: column + 2,
        height: bottom + 4,
      }),
    );
  }
  parts.push(...drawAxis(heat.layers, column, bottom));
  const label = `Share of the answer's tokens that each expert took, by level and layer; at most ${percent(most)}`;
  return shape(
    "svg",
    { viewBox: `0 -3 ${width} ${bottom + AXIS + 3}`, role: "img", "aria-label": label },
    ...parts,
  );
}

export function mostOf({ levels }: Heat): number {
  return Math.max(0, ...levels.flatMap(({ shares }) => shares.flat()));
}

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

function inset({ x, y, width, height }: Box): Record<keyof Box, number> {
  return { x: x + 1, y: y + 1, width: width - 2, height: height - 2 };
}

function drawCell(
  box: Box,
  share: number,
  most: number,
  onClick: () => void,
  name: string,
): SVGElement {
  const cell = shape("rect", { class: "cell", rx: 2, ...box });
  const strength = most === 0 ? 0 : (100 * share) / most;
  cell.style.fill = `color-mix(in oklab, var(--accent) ${strength.toFixed(0)}%, var(--heat-0))`;
  cell.append(shape("title", {}, `${name}: ${percent(share)}`));
  cell.addEventListener("click", onClick);
  return cell;
}

/** As many layers as there is room for. */
function drawAxis(layers: readonly number[], column: number, bottom: number): SVGElement[] {
  const every = Math.ceil(22 / column);
  return layers.flatMap((layer, i) => {
    if (i % every !== 0) return [];
    const x = LABELS + (i + 0.5) * column;
    return [shape("text", { x, y: bottom + 16, "text-anchor": "middle" }, String(layer))];
  });
}
