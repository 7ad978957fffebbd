import type { Survey } from "./routing.js";
import { levelName, total } from "./routing-report.js";

const [CELL_WIDTH, CELL_HEIGHT, LEFT, TOP, GAP] = [28, 14, 48, 56, 24];

/** A picture (SVG): layers downwards, experts to the right, one block for each level; darker = chosen more often. */
export function heatMap({ adapter, levels, places }: Survey): string {
  const layers = [...new Set(places.map(({ layer }) => layer))];
  const parts: string[] = [];
  let x = LEFT;
  for (let level = levels - 1; level >= 0; level--) {
    const own = places.filter((place) => place.level === level);
    parts.push(`<text x="${x}" y="${TOP - 8}">${levelName(level, levels)}</text>`);
    for (const [row, layer] of layers.entries()) {
      const counts = total(own.filter((place) => place.layer === layer));
      const all = counts.reduce((sum, count) => sum + count, 0);
      for (const [expert, count] of counts.entries()) {
        const share = all === 0 ? 0 : count / all;
        const [left, top] = [x + expert * CELL_WIDTH, TOP + row * CELL_HEIGHT];
        parts.push(
          `<rect x="${left}" y="${top}" width="${CELL_WIDTH - 1}" height="${CELL_HEIGHT - 1}" ` +
            `fill="#1f5fa8" fill-opacity="${share.toFixed(3)}" stroke="#ddd">` +
            `<title>layer ${layer}, expert ${expert}: ${(100 * share).toFixed(1)} %</title></rect>`,
        );
      }
    }
    x += own[0]!.experts * CELL_WIDTH + GAP;
  }
  const names = layers.map(
    (layer, row) =>
      `<text x="${LEFT - 6}" y="${TOP + row * CELL_HEIGHT + 11}" text-anchor="end">${layer}</text>`,
  );
  const height = TOP + layers.length * CELL_HEIGHT + GAP;
  const title = adapter.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${x} ${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${x}" height="${height}" fill="white"/>`,
    `<text x="${LEFT}" y="22" font-size="14">${title}: experts chosen, by layer and level</text>`,
    ...names,
    ...parts,
    "</svg>\n",
  ].join("\n");
}
