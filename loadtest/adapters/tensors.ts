import type { BaseShape } from "./base-shape.js";

export const KINDS = ["smore", "lora"] as const;
export type Kind = (typeof KINDS)[number];

export type Tensors = ReadonlyMap<string, readonly number[]>; // shapes by name

/** The adapters that the project is measured with. */
const TREE = { experts: [4, 4], active: [2, 2], rank: 8, key: 16, projection: 32 } as const;
const LORA_RANK = 16;

/** Rows and columns of each linear of a layer, by its path. */
function linearsOf({ width, hidden, queries, keys }: BaseShape): Record<string, [number, number]> {
  return {
    "mlp.gate_proj": [hidden, width],
    "mlp.up_proj": [hidden, width],
    "mlp.down_proj": [width, hidden],
    "self_attn.q_proj": [queries, width],
    "self_attn.k_proj": [keys, width],
    "self_attn.v_proj": [keys, width],
    "self_attn.o_proj": [width, queries],
  };
}

/** Every tensor of an adapter, and its adapter_config.json. */
export function describeAdapter(kind: Kind, base: BaseShape): { tensors: Tensors; config: object } {
  const linears = Object.entries(linearsOf(base)).filter(
    ([path]) => kind === "lora" || path.startsWith("mlp."),
  );
  const tensors = new Map<string, readonly number[]>();
  for (let layer = 0; layer < base.layers; layer++) {
    for (const [path, [rows, columns]] of linears) {
      const own = kind === "smore" ? treeTensors(rows, columns) : loraTensors(rows, columns);
      for (const [name, shape] of Object.entries(own)) {
        tensors.set(`base_model.model.model.layers.${layer}.${path}.${name}`, shape);
      }
    }
  }
  const targets = linears.map(([path]) => path.split(".")[1]!);
  return { tensors, config: kind === "smore" ? treeConfig(targets) : loraConfig(targets) };
}

function loraTensors(rows: number, columns: number): Record<string, readonly number[]> {
  return { "lora_A.weight": [LORA_RANK, columns], "lora_B.weight": [rows, LORA_RANK] };
}

function loraConfig(targets: readonly string[]): object {
  return { peft_type: "LORA", r: LORA_RANK, lora_alpha: 2 * LORA_RANK, target_modules: targets };
}

function treeTensors(rows: number, columns: number): Record<string, readonly number[]> {
  const { experts, rank, key, projection } = TREE;
  const tensors: Record<string, readonly number[]> = {
    "moe_downproj_x.weight": [projection, columns],
    "moe_downproj_x.bias": [projection],
  };
  let below = 0; // width of the level below
  for (const [level, count] of experts.entries()) {
    const width = below + count * rank;
    const routerInput = projection + key * (experts.length - 1 - level);
    tensors[`moe_gate.${level}.keys`] = [count, key];
    tensors[`moe_gate.${level}.mlp.0.weight`] = [key, routerInput];
    tensors[`moe_gate.${level}.mlp.0.bias`] = [key];
    tensors[`moe_gate.${level}.mlp.2.weight`] = [key, key];
    tensors[`moe_gate.${level}.mlp.2.bias`] = [key];
    tensors[`moe_A.${level}`] = [count, rank, columns];
    tensors[`moe_A_bias.${level}`] = [count, rank];
    tensors[`moe_B.${level}`] = [count, width, rank];
    tensors[`moe_B_bias.${level}`] = [count, width];
    if (level > 0) {
      tensors[`moe_W.${level}`] = [width, below];
      tensors[`moe_W_bias.${level}`] = [width];
    }
    below = width;
  }
  tensors.moe_W_final = [rows, below];
  tensors.moe_W_final_bias = [rows];
  return tensors;
}

function treeConfig(targets: readonly string[]): object {
  const { experts, active, rank, key, projection } = TREE;
  return {
    peft_type: "HIER_MOE",
    moe_arch: "smore",
    num_experts: experts,
    num_active: active,
    expert_dims: experts.map(() => rank),
    gate_dims: experts.map(() => key),
    gate_type: "switch",
    gate_arch: "mlp",
    gate_act_fn: "relu",
    expert_act_fn: "tanh",
    activation_position: "all",
    dim_downproj_x: projection,
    lora_alpha: null,
    is_shared_expert_pool: false,
    target_modules: targets,
    task_type: "CAUSAL_LM",
  };
}
