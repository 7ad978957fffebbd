import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ERRORS } from "../src/errors.js";
import { type MetricRow, MODEL_METRICS, SERVER_METRICS } from "../src/metrics/table.js";

/** The dashboard and the alerts ask for what /metrics tells, and for nothing else. */

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly targets?: readonly { readonly refId: string; readonly expr: string }[];
}

function read(name: string): string {
  return readFileSync(new URL(`../../dashboards/${name}`, import.meta.url), "utf8");
}

const dashboard = JSON.parse(read("smore.json")) as {
  readonly uid: string;
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly query: string }[];
  };
};
const queries = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
const alerts = [...read("alerts.yml").matchAll(/^ +expr: (.*)$/gm)].map((match) => match[1] ?? "");

const rows = new Map<string, MetricRow>(
  Object.values({ ...MODEL_METRICS, ...SERVER_METRICS }).map((row) => [row.name, row]),
);

/** What Prometheus, and the model's registry, add to the labels of the table. */
const EVERYWHERE = ["instance", "job", "le"];

/** The metrics of a query with their rows; histograms by the series that they are read from. */
function metricsOf(query: string): { name: string; row: MetricRow; series: string }[] {
  const names = query.match(/\b(?:vllm:|smore_|process_)[a-z0-9_]+/g) ?? [];
  return names.map((name) => {
    const series = /_(?:bucket|sum|count)$/.exec(name)?.[0] ?? "";
    const row = rows.get(name) ?? rows.get(name.slice(0, name.length - series.length));
    assert.ok(row, `there is no metric ${name}, in ${query}`);
    return { name, row, series: row.name === name ? "" : series };
  });
}

test("every query of the dashboard and the alerts is about metrics that exist, in the way of their kind", () => {
  assert.ok(queries.length >= 30 && alerts.length >= 5);
  for (const query of [...queries, ...alerts]) {
    const metrics = metricsOf(query);
    assert.ok(metrics.length > 0 || /\bup\{/.test(query), query);
    for (const { name, row, series } of metrics) {
      assert.equal(row.kind === "histogram", series !== "", `${name} in ${query}`);
      const ranged = query
        .split(name)
        .slice(1)
        .every((after) => /^(\{[^}]*\})?\[/.test(after));
      assert.equal(ranged, row.kind !== "gauge", `${name} is a ${row.kind}, in ${query}`);
    }
    for (const [, list = ""] of query.matchAll(/\b(?:by|on) \(([^)]*)\)/g)) {
      for (const label of list.split(", ")) {
        const known = metrics.every(({ row }) => [...EVERYWHERE, ...row.labels].includes(label));
        assert.ok(known, `${label} is no label of what is asked for in ${query}`);
      }
    }
  }
});

test("the reasons that alerts wait for are codes of the table of errors", () => {
  const reasons = alerts.flatMap((query) => [...query.matchAll(/reason=~?"([^"]*)"/g)]);
  const codes = reasons.flatMap((match) => (match[1] ?? "").split("|"));
  assert.ok(codes.length >= 3);
  for (const code of codes) assert.ok(Object.hasOwn(ERRORS, code), code);
});

test("what people look for is on the dashboard", () => {
  const shown = new Set(queries.flatMap((query) => metricsOf(query).map(({ row }) => row.name)));
  for (const { name } of [
    MODEL_METRICS.firstToken,
    MODEL_METRICS.interToken,
    MODEL_METRICS.generatedTokens,
    MODEL_METRICS.waitingByReason,
    MODEL_METRICS.kvUsage,
    SERVER_METRICS.expertHits,
    SERVER_METRICS.adapterTokens,
    SERVER_METRICS.refusals,
  ]) {
    assert.ok(shown.has(name), name);
  }
});

test("the dashboard can be imported: ids are its own, panels lie beside each other, variables exist", () => {
  const { panels, templating, uid, schemaVersion } = dashboard;
  assert.ok(uid !== "" && schemaVersion >= 30);
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  const taken = new Set<string>();
  for (const { gridPos, title, targets = [] } of panels) {
    const { x, y, w, h } = gridPos;
    assert.ok(x + w <= 24, title);
    for (let cell = 0; cell < w * h; cell++) {
      const place = `${x + (cell % w)}:${y + Math.floor(cell / w)}`;
      assert.ok(!taken.has(place), `${title} lies on another panel`);
      taken.add(place);
    }
    assert.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, title);
  }
  const variables = [...templating.list.map(({ name }) => name), "__rate_interval"];
  for (const [, name = ""] of JSON.stringify(panels).matchAll(/\$\{?([A-Za-z_]+)/g)) {
    assert.ok(variables.includes(name), name);
  }
  for (const { query } of templating.list) {
    const [, metric = "", label = ""] = /^label_values\((\S+), (\S+)\)$/.exec(query) ?? [];
    if (query === "prometheus") continue;
    assert.ok([...EVERYWHERE, ...(rows.get(metric)?.labels ?? [])].includes(label), query);
  }
});
