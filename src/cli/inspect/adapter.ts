import type { AdapterInspection, TensorInfo } from "./inspection.js";
import { bytesText } from "./units.js";

/** Most branches that the picture of a tree shows at one node. */
const SHOWN_CHILDREN = 3;

interface Level {
  readonly experts: number;
  readonly active: number;
  readonly rank: number;
  readonly width: number; // of its output
  readonly expertBytes: number; // all experts of all linears
}

/** The lines for an adapter: what it changes, its experts as a picture, and what memory it takes. */
export function describeAdapter(adapter: AdapterInspection): string[] {
  if (adapter.problem !== null) return [`an adapter that cannot be served: ${adapter.problem}`];
  const modules = adaptedModules(adapter.tensors);
  const placement = describePlacement(modules);
  if (adapter.config.moe_arch !== "smore") {
    return [...describeLora(adapter, placement), `memory     ${bytesText(adapter.totals.bytes)}`];
  }
  const levels = treeLevels(adapter);
  const pages = levels.reduce((sum, level) => sum + level.experts, 0) * modules.length;
  const expertBytes = levels.reduce((sum, level) => sum + level.expertBytes, 0);
  const unread = bytesOf(adapter.tensors, (name) => name.includes(".weight_noise."));
  const always = adapter.totals.bytes - expertBytes - unread;
  const text = (field: string) => String(adapter.config[field] ?? "default");
  return [
    "S'MoRE, a tree of experts",
    `on         ${placement}`,
    `routing    ${text("gate_type")}, ${text("gate_arch")} router, activation ${text("gate_act_fn")}`,
    `experts    activation ${text("expert_act_fn")}, position ${text("activation_position")}` +
      (adapter.config.is_shared_expert_pool === true ? ", one pool shared by all levels" : ""),
    "",
    ...drawTree(levels),
    "",
    `memory     ${bytesText(always)} always (routers, projections, W) and ` +
      `${bytesText(expertBytes)} of experts in ${pages} pages of ${bytesText(expertBytes / pages)}, ` +
      "as stored; routers and projections are float32 in memory",
  ];
}

function describeLora(adapter: AdapterInspection, placement: string): string[] {
  const { r, lora_alpha, use_rslora } = adapter.config;
  const scale = use_rslora === true ? "alpha / sqrt(rank)" : "alpha / rank";
  return [
    "LoRA, one expert without a router",
    `on         ${placement}`,
    `rank       ${String(r)}, alpha ${String(lora_alpha)}, scaled by ${scale}`,
  ];
}

/** "model.layers.3.mlp.up_proj" from "base_model.model.model.layers.3.mlp.up_proj.moe_A.0". */
function adaptedModules(tensors: readonly TensorInfo[]): string[] {
  const names = tensors.map(
    ({ name }) => /^(?:base_model\.model\.)?(.+?)\.(?:moe|lora)_/.exec(name)?.[1],
  );
  return [...new Set(names.filter((name) => name !== undefined))];
}

function describePlacement(modules: readonly string[]): string {
  const linears = [...new Set(modules.map((name) => name.split(".").at(-1)))];
  const layers = modules.flatMap((name) => /\.layers\.(\d+)\./.exec(name)?.[1] ?? []).map(Number);
  const span = `layers ${Math.min(...layers)} to ${Math.max(...layers)}`;
  return `${linears.join(", ")}; ${span}; ${modules.length} in all`;
}

/** From the tensors of the first adapted linear: every linear has the same tree. */
function treeLevels({ config, tensors }: AdapterInspection): Level[] {
  const active = config.num_active as readonly number[] | undefined;
  const levels: Level[] = [];
  for (let l = 0; ; l++) {
    const first = tensors.find(({ name }) => name.endsWith(`.moe_B.${l}`));
    if (first === undefined) return levels;
    const [experts = 0, width = 0, rank = 0] = first.shape;
    const chosen = config.gate_type === "dense" ? experts : (active?.[l] ?? experts);
    const own = new RegExp(`\\.moe_[AB](_bias)?\\.${l}$`);
    const expertBytes = bytesOf(tensors, (name) => own.test(name));
    levels.push({ experts, active: chosen, rank, width, expertBytes });
  }
}

function bytesOf(tensors: readonly TensorInfo[], matches: (name: string) => boolean): number {
  return tensors.filter(({ name }) => matches(name)).reduce((sum, { bytes }) => sum + bytes, 0);
}

/** One token's way through the tree: every chosen expert, root first. */
function drawTree(levels: readonly Level[]): string[] {
  const leaves = levels.reduce((product, level) => product * level.active, 1);
  return [
    "token",
    ...drawChildren(levels, levels.length - 1, "", true),
    `${leaves} ${leaves === 1 ? "path" : "paths"} from root to leaf for each token`,
  ];
}

function drawChildren(
  levels: readonly Level[],
  l: number,
  indent: string,
  explain: boolean,
): string[] {
  const level = levels[l];
  if (level === undefined) return [];
  const shown = Math.min(level.active, SHOWN_CHILDREN);
  const hidden = level.active - shown;
  const lines: string[] = [];
  for (let child = 0; child < shown; child++) {
    const last = child === shown - 1 && hidden === 0;
    const note = explain && child === 0 ? `  ${explainLevel(level, l)}` : "";
    lines.push(`${indent}${last ? "└─" : "├─"}●${note}`);
    const below = `${indent}${last ? "   " : "│  "}`;
    lines.push(...drawChildren(levels, l - 1, below, explain && child === 0));
  }
  if (hidden > 0) lines.push(`${indent}└─ ${hidden} more like these`);
  return lines;
}

function explainLevel({ experts, active, rank, width }: Level, l: number): string {
  const who = active === experts ? `all ${experts} experts` : `${active} of ${experts} experts`;
  return `level ${l}: ${who}, rank ${rank}, ${width} wide`;
}
