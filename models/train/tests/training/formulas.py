"""The tree as its formulas say it, number by number: one token, one node at a time, numpy float64, no autograd.

    t = P x + p;  delta = W_final NODE(L-1, t) + w_final
    NODE(l, z): (ids, scores, keys) = ROUTE(l, z), and over the chosen experts j
        own_j = c_l (B_l[j] (A_l[j] x + a_l[j]) + b_l[j]),  sub_j = NODE(l-1, concat(z, keys_j))
        all       sum_j scores_j act(own_j + W_l sub_j + w_l)
        child     sum_j (scores_j own_j + W_l act(sub_j) + w_l)
        child_v2  sum_j scores_j (own_j + W_l act(sub_j) + w_l)
    with no sub_j at the leaves, where child and child_v2 do not activate.

Nothing here is shared with `models.train.smore`; tensors have the names of the files.
"""

from __future__ import annotations

import numpy as np

from models.train.smore import Tree

ACTIVATIONS = {"identity": lambda v: v, "relu": lambda v: np.maximum(v, 0), "tanh": np.tanh}

Tensors = dict[str, np.ndarray]


def delta(tree: Tree, tensors: Tensors, x: np.ndarray) -> np.ndarray:
    """What the tree adds to a Linear's output for one token x."""
    projected = tensors["moe_downproj_x.weight"] @ x + tensors["moe_downproj_x.bias"]
    top = node(tree, tensors, x, tree.levels - 1, projected)
    return tensors["moe_W_final"] @ top + tensors["moe_W_final_bias"]


def node(tree: Tree, tensors: Tensors, x: np.ndarray, level: int, z: np.ndarray) -> np.ndarray:
    act = ACTIVATIONS[tree.expert_act_fn]
    position = tree.activation_position
    total = 0.0
    for expert, score, key in route(tree, tensors, level, z):
        inner = tensors[f"moe_A.{level}"][expert] @ x + tensors[f"moe_A_bias.{level}"][expert]
        outer = tensors[f"moe_B.{level}"][expert] @ inner + tensors[f"moe_B_bias.{level}"][expert]
        own = tree.scale(level) * outer
        if level == 0:
            total = total + score * (act(own) if position == "all" else own)
            continue
        sub = node(tree, tensors, x, level - 1, np.concatenate([z, key]))
        mix, bias = tensors[f"moe_W.{level}"], tensors[f"moe_W_bias.{level}"]
        if position == "all":
            total = total + score * act(own + mix @ sub + bias)
        elif position == "child":
            total = total + score * own + mix @ act(sub) + bias
        else:
            total = total + score * (own + mix @ act(sub) + bias)
    return total


def route(tree: Tree, tensors: Tensors, level: int, z: np.ndarray) -> list[tuple[int, float, np.ndarray]]:
    """The chosen experts in falling order of their logits, with their scores and the keys that they hand on."""
    gate = f"moe_gate.{level}"
    hidden = tensors[f"{gate}.mlp.0.weight"] @ z + tensors[f"{gate}.mlp.0.bias"]
    query = tensors[f"{gate}.mlp.2.weight"] @ ACTIVATIONS[tree.gate_act_fn](hidden) + tensors[f"{gate}.mlp.2.bias"]
    keys = tensors[f"{gate}.keys"]
    if tree.gate_type == "noisy_topk":
        query = query / max(np.linalg.norm(query), 1e-12)
        keys = keys / np.maximum(np.linalg.norm(keys, axis=1, keepdims=True), 1e-12)
    logits = keys @ query
    count = tree.fanout(level)
    chosen = range(count) if tree.gate_type == "dense" else np.argsort(-logits, kind="stable")[:count]
    if tree.gate_type == "noisy_topk":
        weights = {e: logits[e] for e in chosen} if count == 1 else softmax({e: logits[e] for e in chosen})
    else:
        weights = softmax(dict(enumerate(logits)))
        if tree.gate_type == "switch" and count > 1:
            total = sum(weights[e] for e in chosen)
            weights = {e: weights[e] / total for e in chosen}
    return [(e, weights[e], keys[e]) for e in chosen]


def softmax(logits: dict[int, float]) -> dict[int, float]:
    exponentials = {e: np.exp(v - max(logits.values())) for e, v in logits.items()}
    return {e: v / sum(exponentials.values()) for e, v in exponentials.items()}
