"""S'MoRE: structural mixture of residual experts (arXiv 2504.06426), trainable, in the official tensor layout.

Shapes in comments: T tokens, N nodes of one tree level for one token, and per level s experts, f chosen, r rank,
d output width, k key width, z router input width. Level 0 is the leaf, level L-1 the root.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Tree:
    """The fields of adapter_config.json that shape the computation."""

    num_experts: tuple[int, ...]
    num_active: tuple[int, ...]
    expert_dims: tuple[int, ...]
    gate_dims: tuple[int, ...]
    dim_downproj_x: int | None = 32
    gate_type: str = "noisy_topk"
    gate_arch: str = "mlp"
    gate_act_fn: str = "relu"
    expert_act_fn: str = "relu"
    activation_position: str = "all"
    lora_alpha: tuple[float, ...] | None = None
    is_shared_expert_pool: bool = False

    def __post_init__(self) -> None:
        if self.gate_type not in ("noisy_topk", "switch", "dense"):
            raise ValueError(f"gate_type {self.gate_type} is not one of noisy_topk, switch, dense")
        if self.activation_position not in ("all", "child", "child_v2"):
            raise ValueError(f"activation_position {self.activation_position} is not one of all, child, child_v2")
        lists = (self.num_experts, self.num_active, self.expert_dims, self.gate_dims)
        if len({len(values) for values in lists}) != 1:
            raise ValueError("num_experts, num_active, expert_dims and gate_dims differ in length")
        if self.is_shared_expert_pool and len(set(zip(self.num_experts, self.expert_dims))) != 1:
            raise ValueError("is_shared_expert_pool needs equal num_experts and equal expert_dims in all levels")

    @property
    def levels(self) -> int:
        return len(self.num_experts)

    @property
    def two_layer_router(self) -> bool:
        return self.gate_arch == "mlp" or self.gate_type == "noisy_topk"

    def fanout(self, level: int) -> int:
        return self.num_experts[level] if self.gate_type == "dense" else self.num_active[level]

    def scale(self, level: int) -> float:
        return 1.0 if self.lora_alpha is None else self.lora_alpha[level] / self.expert_dims[level]

    def width(self, level: int) -> int:
        """d_{level+1}, the output width of a level; width(-1) is 0."""
        counted = 1 if self.is_shared_expert_pool else level + 1
        return sum(s * r for s, r in list(zip(self.num_experts, self.expert_dims))[:counted]) if level >= 0 else 0


@dataclass
class Routing:
    """What one forward pass of a model leaves behind about routing."""

    valid: Tensor | None = None  # bool [T]; tokens that count in loads and in the balance loss
    balance: list[Tensor] = field(default_factory=list)
    loads: dict[tuple[str, int], Tensor] = field(default_factory=dict)  # (module, level) -> choices [s]

    def begin(self, valid: Tensor) -> None:
        self.valid = valid.reshape(-1)
        self.balance = []

    def balance_loss(self) -> Tensor:
        """Mean over all routers of the pass; 0 where there is none."""
        return torch.stack(self.balance).mean() if self.balance else torch.zeros(())

    def record(self, module: str, level: int, probabilities: Tensor, ids: Tensor) -> None:
        """`probabilities` [T, N, s] over all experts, `ids` [T, N, f]."""
        experts = probabilities.shape[-1]
        weight = self.valid.float()[:, None, None]
        chosen = F.one_hot(ids, experts).sum(-2) * weight  # [T, N, s]
        choices = chosen.sum((0, 1)).detach()
        total = weight.sum() * ids.shape[1]
        mean_probability = (probabilities * weight).sum((0, 1)) / total
        # Switch Transformer's loss: 1 when the load is even, s when one expert takes everything.
        self.balance.append(experts * (choices / choices.sum() * mean_probability).sum())
        self.loads[module, level] = self.loads.get((module, level), 0) + choices


def activation(name: str, slope: Tensor | None):
    kind = name.split("|")[0]
    if kind == "prelu":
        return lambda v: F.prelu(v, slope)
    return {"identity": lambda v: v, "relu": F.relu, "tanh": torch.tanh}[kind]


class Gate(nn.Module):
    """The router of one level."""

    def __init__(self, tree: Tree, level: int, inputs: int) -> None:
        super().__init__()
        self.tree, self.level = tree, level
        experts = tree.num_experts[level]
        width = tree.gate_dims[level] if tree.two_layer_router else inputs
        self.key_width = width
        self.keys = nn.Parameter(torch.randn(experts, width))
        if tree.two_layer_router:
            slope = [nn.PReLU(init=float(tree.gate_act_fn.split("|")[1]))] if "|" in tree.gate_act_fn else []
            middle = slope[0] if slope else nn.Identity()
            self.mlp = nn.Sequential(nn.Linear(inputs, width), middle, nn.Linear(width, width))
            # Queries of about unit variance: routing is decided from the first step on, so experts come to differ.
            nn.init.normal_(self.mlp[0].weight, std=(2 / inputs) ** 0.5)
            nn.init.normal_(self.mlp[2].weight, std=width**-0.5)
        if tree.gate_type == "noisy_topk":
            self.weight_noise = nn.Linear(inputs, experts, bias=False)
            nn.init.zeros_(self.weight_noise.weight)

    def forward(self, z: Tensor, name: str, routing: Routing) -> tuple[Tensor, Tensor, Tensor]:
        """z [T, N, z] to ids and scores [T, N, f] and the keys of the chosen [T, N, f, k]."""
        tree = self.tree
        query, keys = self._query(z), self.keys
        if tree.gate_type == "noisy_topk":
            query, keys = F.normalize(query, dim=-1, eps=1e-12), F.normalize(keys, dim=-1, eps=1e-12)
        logits = query @ keys.T  # [T, N, s]
        if tree.gate_type == "noisy_topk" and self.training:
            logits = logits + torch.randn_like(logits) * F.softplus(self.weight_noise(z))
        count = tree.fanout(self.level)
        if tree.gate_type == "dense":
            ids = torch.arange(count).expand(*logits.shape[:-1], count)
        else:
            ids = logits.topk(count, dim=-1).indices
        scores, probabilities = self._scores(logits, ids)
        routing.record(name, self.level, probabilities, ids)
        return ids, scores, F.embedding(ids, keys)

    def _query(self, z: Tensor) -> Tensor:
        if not self.tree.two_layer_router:
            return z
        first, slope, second = self.mlp
        act = activation(self.tree.gate_act_fn, getattr(slope, "weight", None))
        return second(act(first(z)))

    def _scores(self, logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = logits.softmax(-1)
        if self.tree.gate_type == "noisy_topk":
            chosen = logits.gather(-1, ids)
            return (chosen if ids.shape[-1] == 1 else chosen.softmax(-1)), probabilities
        chosen = probabilities.gather(-1, ids)
        renormalise = self.tree.gate_type == "switch" and ids.shape[-1] > 1
        return (chosen / chosen.sum(-1, keepdim=True) if renormalise else chosen), probabilities


class SmoreLinear(nn.Module):
    """A frozen Linear plus one residual tree. Parameter names are those of the official files, less the `moe_` prefix."""

    def __init__(self, base: nn.Module, inputs: int, outputs: int, tree: Tree, name: str, routing: Routing) -> None:
        super().__init__()
        self.base, self.tree, self.name, self.routing = base, tree, name, routing
        projected = tree.dim_downproj_x if tree.dim_downproj_x and tree.dim_downproj_x > 0 else inputs
        self.downproj_x = nn.Linear(inputs, projected)
        nn.init.normal_(self.downproj_x.weight, std=inputs**-0.5)
        gates: list[Gate] = []
        width = projected
        for level in reversed(range(tree.levels)):
            gates.insert(0, Gate(tree, level, width))
            width += gates[0].key_width
        self.gate = nn.ModuleList(gates)

        def normal(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) / shape[-1] ** 0.5)

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape))

        pools = 1 if tree.is_shared_expert_pool else tree.levels
        sizes = list(zip(tree.num_experts, tree.expert_dims))[:pools]
        widths = [tree.width(level) for level in range(tree.levels)]
        self.A = nn.ParameterList(normal(s, r, inputs) for s, r in sizes)
        self.A_bias = nn.ParameterList(zeros(s, r) for s, r in sizes)
        self.B = nn.ParameterList(normal(s, d, r) for (s, r), d in zip(sizes, widths))
        self.B_bias = nn.ParameterList(zeros(s, d) for (s, _), d in zip(sizes, widths))
        self.W = nn.ParameterList(normal(d, below) for d, below in zip(widths[1:], widths))
        self.W_bias = nn.ParameterList(zeros(d) for d in widths[1:])
        # The tree starts as no change at all, as a LoRA does.
        self.W_final, self.W_final_bias = zeros(outputs, widths[-1]), zeros(outputs)
        if "|" in tree.expert_act_fn:
            initial = float(tree.expert_act_fn.split("|")[1])
            self.expert_act_param = nn.ParameterList(torch.full((1,), initial) for _ in widths)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = F.linear(flat, torch.cat([self.downproj_x.weight, *(a.flatten(0, 1) for a in self.A)]))
        with torch.autocast("cpu", enabled=False):
            top = self._tree(low.float() if low.dtype is torch.bfloat16 else low)
        delta = F.linear(top, self.W_final, self.W_final_bias)
        return self.base(x) + delta.view(*x.shape[:-1], -1)

    def _tree(self, low: Tensor) -> Tensor:
        """low [T, u + sum of s*r], the products of x, to the root's output [T, d_L]."""
        sizes = [self.downproj_x.out_features, *(a.shape[0] * a.shape[1] for a in self.A)]
        projected, *ranks = low.split(sizes, dim=-1)
        own = []
        for level in range(self.tree.levels):
            pool = 0 if self.tree.is_shared_expert_pool else level
            a, b = self.A_bias[pool], self.B[pool]
            inner = ranks[pool].view(-1, *a.shape) + a  # [T, s, r]
            outer = torch.einsum("tsr,sdr->tsd", inner, b) + self.B_bias[pool]
            own.append(self.tree.scale(level) * outer)
        root = self.tree.levels - 1
        return self._node(root, (projected + self.downproj_x.bias)[:, None], own)[:, 0]

    def _node(self, level: int, z: Tensor, own: list[Tensor]) -> Tensor:
        """z [T, N, z] to the output of N nodes [T, N, d]."""
        ids, scores, keys = self.gate[level](z, self.name, self.routing)
        tokens, nodes, fanout = ids.shape
        scores = scores[..., None]
        width = own[level].shape[-1]
        picked = own[level].gather(1, ids.reshape(tokens, -1, 1).expand(-1, -1, width))
        picked = picked.view(tokens, nodes, fanout, width)
        slope = self.expert_act_param[level] if "|" in self.tree.expert_act_fn else None
        act = activation(self.tree.expert_act_fn, slope)
        position = self.tree.activation_position
        if level == 0:
            return (scores * (act(picked) if position == "all" else picked)).sum(2)
        below = torch.cat([z[:, :, None].expand(-1, -1, fanout, -1), keys], dim=-1).flatten(1, 2)
        sub = self._node(level - 1, below, own).view(tokens, nodes, fanout, -1)
        if position == "all":
            return (scores * act(picked + self._mix(level, sub))).sum(2)
        mixed = self._mix(level, act(sub))
        return (scores * picked + mixed if position == "child" else scores * (picked + mixed)).sum(2)

    def _mix(self, level: int, sub: Tensor) -> Tensor:
        return F.linear(sub, self.W[level - 1], self.W_bias[level - 1])

    def tensors(self) -> dict[str, Tensor]:
        """The tree's tensors under the official names; views of the parameters, so copying into them loads a file."""
        named = {
            "moe_downproj_x.weight": self.downproj_x.weight,
            "moe_downproj_x.bias": self.downproj_x.bias,
            "moe_W_final": self.W_final,
            "moe_W_final_bias": self.W_final_bias,
        }
        named |= {f"moe_gate.{key}": value for key, value in self.gate.named_parameters()}
        for level in range(self.tree.levels):
            pool = 0 if self.tree.is_shared_expert_pool else level
            for kind in ("A", "A_bias", "B", "B_bias"):
                named[f"moe_{kind}.{level}"] = getattr(self, kind)[pool]
            if level > 0:
                named[f"moe_W.{level}"], named[f"moe_W_bias.{level}"] = self.W[level - 1], self.W_bias[level - 1]
            if "|" in self.tree.expert_act_fn:
                named[f"moe_expert_act_param.{level}"] = self.expert_act_param[level]
        return named
