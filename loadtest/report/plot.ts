/** A line plot as one SVG of its own, without scripts or fonts from elsewhere. */

export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Plot {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
  readonly xScale?: "linear" | "log2"; // log2: ticks are the points' own x
  readonly markers?: boolean;
  /** How it was made, in small print below. */
  readonly caption?: string;
}

const WIDTH = 720;
const INNER_HEIGHT = 296;
const EDGE = { left: 72, right: 20, top: 42, bottom: 64 };
const LEGEND_ROW = 18;
const COLOURS = ["#0969da", "#cf222e", "#1a7f37", "#8250df", "#bf8700", "#57606a"];

export function linePlot(plot: Plot): string {
  const points = plot.series.flatMap((series) => series.points);
  const xs = points.map(([x]) => x);
  const log = plot.xScale === "log2";
  const yTicks = niceTicks(0, Math.max(...points.map(([, y]) => y), 0));
  const [xLow, xHigh] = points.length === 0 ? [0, 1] : extent(xs);
  const xTicks = log ? [...new Set(xs)].sort((a, b) => a - b) : niceTicks(xLow, xHigh);
  const scale = log ? Math.log2 : (value: number) => value;
  const [left, right] = log ? [xLow, xHigh] : [xTicks[0]!, xTicks.at(-1)!];
  const inner = WIDTH - EDGE.left - EDGE.right;
  const span = scale(right) - scale(left) || 1;
  const xAt = (x: number) => EDGE.left + (inner * (scale(x) - scale(left))) / span;
  const named = plot.series.length > 1 ? legend(plot.series) : { rows: 0, parts: [] };
  const bottom = EDGE.top + LEGEND_ROW * named.rows + INNER_HEIGHT;
  const height = bottom + EDGE.bottom;
  const yAt = (y: number) => bottom - (INNER_HEIGHT * y) / yTicks.at(-1)!;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    label(WIDTH / 2, 20, plot.title, 'font-size="15" font-weight="600"'),
    ...yTicks.map((y) => horizontalRule(yAt(y), format(y))),
    ...xTicks.map((x) => label(xAt(x), bottom + 18, format(x))),
    label(WIDTH / 2, bottom + 36, plot.xLabel),
    label(WIDTH / 2, height - 8, plot.caption ?? "", 'font-size="9" fill="#57606a"'),
    label(0, 0, plot.yLabel, `transform="translate(18 ${bottom - INNER_HEIGHT / 2}) rotate(-90)"`),
    ...plot.series.map((series, index) => line(series, index, xAt, yAt, plot.markers ?? true)),
    ...named.parts,
    "</svg>\n",
  ].join("\n");
}

/** Three to eleven round numbers that cover the range. */
export function niceTicks(low: number, high: number): number[] {
  const range = high - low || Math.abs(high) || 1;
  const magnitude = 10 ** Math.floor(Math.log10(range));
  const step = [0.2, 0.25, 0.5, 1, 2].find((each) => range / (each * magnitude) <= 8)! * magnitude;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

function extent(values: readonly number[]): [number, number] {
  return [
    values.reduce((least, value) => Math.min(least, value), Infinity),
    values.reduce((most, value) => Math.max(most, value), -Infinity),
  ];
}

function line(
  { points }: Series,
  index: number,
  xAt: (x: number) => number,
  yAt: (y: number) => number,
  markers: boolean,
): string {
  const colour = colourOf(index);
  const places = points.map(([x, y]) => [xAt(x).toFixed(1), yAt(y).toFixed(1)] as const);
  const path = `<polyline points="${places.map((place) => place.join(",")).join(" ")}" fill="none" stroke="${colour}" stroke-width="2"/>`;
  if (!markers) return path;
  const dots = places.map(([x, y]) => `<circle cx="${x}" cy="${y}" r="3" fill="${colour}"/>`);
  return [path, ...dots].join("");
}

/** In rows above the picture, where no line can cross it. */
function legend(all: readonly Series[]): { rows: number; parts: string[] } {
  let [x, row] = [EDGE.left, 0];
  const parts = all.map(({ name }, index) => {
    const width = 44 + 7 * name.length;
    if (x > EDGE.left && x + width > WIDTH) [x, row] = [EDGE.left, row + 1];
    const [left, y] = [x, EDGE.top + LEGEND_ROW * row];
    x += width;
    return `<rect x="${left}" y="${y - 4}" width="18" height="4" fill="${colourOf(index)}"/><text x="${left + 24}" y="${y + 2}">${escapeXml(name)}</text>`;
  });
  return { rows: row + 1, parts };
}

function horizontalRule(y: number, text: string): string {
  return `<path d="M${EDGE.left} ${y.toFixed(1)}H${WIDTH - EDGE.right}" stroke="#d0d7de"/><text x="${EDGE.left - 8}" y="${(y + 4).toFixed(1)}" text-anchor="end">${text}</text>`;
}

function label(x: number, y: number, text: string, more = ""): string {
  return `<text x="${x.toFixed(1)}" y="${y}" text-anchor="middle" ${more}>${escapeXml(text)}</text>`;
}

function colourOf(index: number): string {
  return COLOURS[index % COLOURS.length]!;
}

function format(value: number): string {
  return String(Number(value.toPrecision(6)));
}

export function escapeXml(text: string): string {
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
  };
  return text.replace(/[&<>"]/g, (character) => entities[character]!);
}
