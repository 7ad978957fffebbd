import { ask, readJson, type Server, ServerError } from "../../client/server.js";
import { bytes, percent } from "../format.js";
import { MetricsText } from "../metrics-text.js";
import type { ExampleEntry } from "../suggestions.js";
import { byId, element } from "./dom.js";

/** Where the adapters' bytes are, now. */

export interface AdapterEntry {
  readonly id: string;
  readonly state: "ready" | "loading";
  readonly progress?: number;
  readonly tier?: "host" | "disk";
  readonly pinned?: boolean;
  readonly running?: number;
  readonly bytes?: number;
  readonly resident_bytes?: number;
  readonly hits?: number;
  readonly misses?: number;
  readonly card?: { readonly examples: readonly ExampleEntry[] };
}

interface Adapters {
  readonly data: readonly AdapterEntry[];
}

export class MemoryView {
  readonly #root = byId("memory", HTMLDivElement);
  readonly #load = byId("load", HTMLParagraphElement);

  /** The adapters that it shows. What the server refuses to tell stands in its place. */
  async refresh(server: Server): Promise<readonly AdapterEntry[]> {
    try {
      const [adapters, metrics] = await Promise.all([
        ask(server, "/v1/adapters").then((response) => readJson<Adapters>(response)),
        ask(server, "/metrics").then((response) => response.text()),
      ]);
      this.#draw(adapters.data, new MetricsText(metrics));
      return adapters.data;
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      this.#root.replaceChildren(element("p", { class: "quiet" }, error.message));
      return [];
    }
  }

  #draw(adapters: readonly AdapterEntry[], metrics: MetricsText): void {
    const registered = adapters.reduce((sum, adapter) => sum + (adapter.bytes ?? 0), 0);
    const active = adapters
      .filter(({ running = 0 }) => running > 0)
      .reduce((sum, adapter) => sum + (adapter.resident_bytes ?? 0), 0);
    const rows = element("ul", { class: "adapters" }, ...adapters.map(drawAdapter));
    const tiers = element(
      "dl",
      { class: "tiers" },
      ...figure("registered", registered),
      ...figure("resident", metrics.sum("smore_adapter_resident_bytes")),
      ...figure("active", active),
      ...figure("budget", metrics.sum("smore_adapter_budget_bytes")),
    );
    const none = element("p", { class: "quiet" }, "This server has no adapters.");
    this.#root.replaceChildren(tiers, adapters.length === 0 ? none : rows);
    this.#load.textContent = loadText(metrics);
  }
}

function figure(name: string, count: number | null): [HTMLElement] {
  const value = count === null ? "unknown" : bytes(count);
  return [element("div", {}, element("dt", {}, name), element("dd", {}, value))];
}

function drawAdapter(adapter: AdapterEntry): HTMLElement {
  const { id, bytes: all = 0, resident_bytes: resident = 0 } = adapter;
  const share =
    adapter.state === "loading" ? (adapter.progress ?? 0) : all === 0 ? 0 : resident / all;
  const fill = element("div", { class: "bar-fill" });
  fill.style.width = `${100 * Math.min(1, share)}%`;
  return element(
    "li",
    {},
    element("span", { class: "adapter-name" }, id),
    element("span", { class: "figures" }, all === 0 ? "" : `${bytes(resident)} / ${bytes(all)}`),
    element("div", { class: "bar-track", "aria-hidden": "true" }, fill),
    element("span", { class: "quiet" }, tierText(adapter)),
  );
}

function tierText(adapter: AdapterEntry): string {
  const { state, progress, tier, pinned, running = 0, hits = 0, misses = 0 } = adapter;
  if (state === "loading") return `loading, ${percent(progress ?? 0)}`;
  const idle = tier === "host" ? "in memory" : "on disk until it is asked for";
  const place = running > 0 ? `active in ${running}` : idle;
  const pages = hits + misses === 0 ? "" : ` · pages found ${hits}, waited for ${misses}`;
  return `${place}${pinned === true ? ", pinned" : ""}${pages}`;
}

function loadText(metrics: MetricsText): string {
  const running = metrics.sum("vllm:num_requests_running");
  const waiting = metrics.sum("vllm:num_requests_waiting");
  const keys = metrics.sum("vllm:kv_cache_usage_perc");
  if (running === null || waiting === null || keys === null) return "";
  return `${running} running, ${waiting} waiting, KV ${percent(keys)}`;
}
