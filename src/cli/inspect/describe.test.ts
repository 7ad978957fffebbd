import assert from "node:assert/strict";
import { it, describe as suite } from "node:test";
import { describe } from "./describe.js";
import type { AdapterInspection, ModelInspection, TensorInfo } from "./inspection.js";

function totals(tensors: readonly TensorInfo[]) {
  const bytes = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  return { tensors: tensors.length, parameters: bytes / 4, bytes, byDtype: { F32: bytes } };
}

function tensor(name: string, ...shape: number[]): TensorInfo {
  return { name, dtype: "F32", shape, bytes: 4 * shape.reduce((a, b) => a * b, 1) };
}

function smore(active: readonly number[], experts: readonly number[]): AdapterInspection {
  const tensors = [0, 1].flatMap((layer) => {
    const prefix = `base_model.model.model.layers.${layer}.mlp.up_proj.moe_`;
    return [
      tensor(`${prefix}downproj_x.weight`, 8, 16),
      tensor(`${prefix}A.0`, experts[0] ?? 0, 3, 16),
      tensor(`${prefix}B.0`, experts[0] ?? 0, 12, 3),
      tensor(`${prefix}A.1`, experts[1] ?? 0, 4, 16),
      tensor(`${prefix}B.1`, experts[1] ?? 0, 20, 4),
      tensor(`${prefix}gate.0.weight_noise.weight`, 4, 8),
    ];
  });
  const config = { moe_arch: "smore", gate_type: "switch", num_active: active };
  const common = { format: "safetensors", tensors, totals: totals(tensors) } as const;
  return { kind: "adapter", problem: null, config, ...common };
}

suite("smore inspect", () => {
  it("says why an adapter cannot be served instead of drawing it", () => {
    const problem = "adapter_config.json: num_experts: expected integers from 1 to 4096";
    const [first, second] = describe({ ...smore([2], [4]), problem }, false);
    assert.equal(first, `an adapter that cannot be served: ${problem}`);
    assert.match(second ?? "", /^parameters/);
  });

  it("draws the tree that a token goes through", () => {
    const lines = describe(smore([2, 2], [4, 2]), false);
    assert.ok(lines.includes("on         up_proj; layers 0 to 1; 2 in all"));
    const picture = lines.slice(lines.indexOf("token"));
    assert.deepEqual(picture.slice(0, 8), [
      "token",
      "├─●  level 1: all 2 experts, rank 4, 20 wide",
      "│  ├─●  level 0: 2 of 4 experts, rank 3, 12 wide",
      "│  └─●",
      "└─●",
      "   ├─●",
      "   └─●",
      "4 paths from root to leaf for each token",
    ]);
  });

  it("shortens what does not fit into a picture", () => {
    const lines = describe(smore([1, 8], [4, 8]), false);
    assert.ok(lines.includes("└─ 5 more like these"));
  });

  it("counts the memory of experts apart from what always stays", () => {
    const text = describe(smore([2, 2], [4, 2]), false).join("\n");
    // per linear: 4 leaves of (3*16 + 12*3) floats, 2 roots of (4*16 + 20*4) floats; 8*16 floats stay
    assert.match(text, /memory {5}1\.02 KB always .* and 4\.99 KB of experts in 12 pages of 416 B/);
  });

  it("describes plain LoRA by its rank and scale", () => {
    const tensors = [
      tensor("base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight", 8, 16),
    ];
    const config = { peft_type: "LORA", r: 8, lora_alpha: 16, use_rslora: true };
    const all = {
      kind: "adapter",
      format: "safetensors",
      problem: null,
      config,
      tensors,
      totals: totals(tensors),
    } as const;
    const text = describe(all, false).join("\n");
    assert.match(text, /on {9}q_proj; layers 3 to 3; 1 in all/);
    assert.match(text, /rank {7}8, alpha 16, scaled by alpha \/ sqrt\(rank\)/);
  });

  it("describes a model, or says why it cannot be served, and lists tensors when asked", () => {
    const tensors = [tensor("output.weight", 10, 20)];
    const config = {
      family: "llama",
      layers: 2,
      width: 64,
      ffnWidth: 128,
      heads: 4,
      kvHeads: 2,
      headDim: 16,
      vocab: 320,
      maxPosition: 512,
      tied: true,
      slidingWindow: 0,
      windowPattern: "none",
    };
    const model: ModelInspection = {
      kind: "model",
      format: "gguf",
      problem: null,
      config,
      tensors,
      totals: totals(tensors),
    };
    const lines = describe(model, true);
    assert.equal(lines[0], "llama model");
    assert.ok(
      lines.includes("context    512 tokens, 256 B of keys and values each (16 bits a number)"),
    );
    assert.equal(lines.at(-1), "output.weight  F32  [10, 20]  800 B");
    const broken = describe({ ...model, config: null, problem: "no such family" }, false);
    assert.equal(broken[0], "a model that cannot be served: no such family");
  });
});
