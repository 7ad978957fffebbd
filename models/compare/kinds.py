"""The kinds of adapter that are compared, each with about as many trainable parameters as the trees that are committed.

Shapes in comments: T tokens, E experts, r rank.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.train.adapter import TARGETS, Wrap, sizes_of
from models.train.base import Config
from models.train.fit import TREE
from models.train.smore import Routing, SmoreLinear, Tree

HYDRA_EXPERTS = 3
MOST_RANK, MOST_RANK_IN_A_TREE = 64, 6
TOLERANCE = 0.02  # of the reference's number of parameters


class LoraLinear(nn.Module):
    """A frozen linear and B A x."""

    def __init__(self, base: nn.Module, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.base = base
        self.A = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.B = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + F.linear(F.linear(x, self.A), self.B)

    def tensors(self) -> dict[str, Tensor]:
        return {"lora_A.weight": self.A, "lora_B.weight": self.B}


class HydraLinear(nn.Module):
    """A frozen linear and sum over all e of softmax(G x)_e B_e A x, as HydraLoRA (arXiv 2404.19245)."""

    def __init__(self, base: nn.Module, inputs: int, outputs: int, experts: int, rank: int) -> None:
        super().__init__()
        self.base = base
        self.A = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.B = nn.Parameter(torch.zeros(experts, outputs, rank))
        self.gate = nn.Parameter(torch.randn(experts, inputs) / inputs**0.5)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = F.linear(flat, torch.cat([self.A, self.gate])).float()
        inner, logits = low.split([self.A.shape[0], self.gate.shape[0]], dim=-1)
        weighted = logits.softmax(-1)[:, :, None] * inner[:, None, :]  # [T, E, r]
        delta = F.linear(weighted.flatten(1), self.B.transpose(0, 1).flatten(1))
        return self.base(x) + delta.view(*x.shape[:-1], -1)

    def tensors(self) -> dict[str, Tensor]:
        experts = {f"lora_B{expert}.weight": self.B[expert] for expert in range(self.B.shape[0])}
        return {"lora_A.weight": self.A, "lora_route.weight": self.gate, **experts}


@dataclass(frozen=True)
class Kind:
    name: str
    title: str
    shape: str  # in words, for the table
    wrap: Wrap


def lora(rank: int) -> Kind:
    def wrap(base: nn.Module, inputs: int, outputs: int, _name: str, _routing: Routing) -> nn.Module:
        return LoraLinear(base, inputs, outputs, rank)

    return Kind("lora", "LoRA", f"rank {rank}", wrap)


def hydra(rank: int) -> Kind:
    def wrap(base: nn.Module, inputs: int, outputs: int, _name: str, _routing: Routing) -> nn.Module:
        return HydraLinear(base, inputs, outputs, HYDRA_EXPERTS, rank)

    return Kind("dense-gate", "dense gate (HydraLoRA)", f"one A, {HYDRA_EXPERTS} B of rank {rank}, all used", wrap)


def smore(name: str, title: str, *ranks: int) -> Kind:
    """The committed trees with as many levels as there are ranks, from leaves to root."""
    levels = len(ranks)
    tree = dataclasses.replace(
        TREE,
        num_experts=TREE.num_experts[:1] * levels,
        num_active=TREE.num_active[:1] * levels,
        gate_dims=TREE.gate_dims[:1] * levels,
        expert_dims=ranks,
        lora_alpha=tuple(map(float, ranks)),
    )
    experts = " + ".join(map(str, tree.num_experts))
    shape = f"{experts} experts of rank {' + '.join(map(str, ranks))}, {tree.num_active[0]} used at a node"
    return Kind(name, title, shape, tree_wrap(tree))


def tree_wrap(tree: Tree) -> Wrap:
    def wrap(base: nn.Module, inputs: int, outputs: int, name: str, routing: Routing) -> nn.Module:
        return SmoreLinear(base, inputs, outputs, tree, name, routing)

    return wrap


def parameters_per_layer(wrap: Wrap, config: Config) -> int:
    with torch.device("meta"):
        modules = [wrap(nn.Identity(), *sizes_of(config, target), target, Routing()) for target in TARGETS]
    return sum(p.numel() for module in modules for p in module.parameters())


def falling_ranks(levels: int) -> list[tuple[int, ...]]:
    """Of leaves to root: as in the committed trees, no level has a larger rank than the one below it."""
    return list(itertools.combinations_with_replacement(range(MOST_RANK_IN_A_TREE, 0, -1), levels))


def solved_kinds(config: Config) -> dict[str, Kind]:
    """Every kind with the ranks that bring it nearest to the committed trees' number of parameters.

    ValueError where that is not within TOLERANCE.
    """
    reference = parameters_per_layer(tree_wrap(TREE), config)
    one_rank = [(rank,) for rank in range(1, MOST_RANK)]

    def nearest(make: Callable[..., Kind], candidates: list[tuple[int, ...]]) -> Kind:
        off, best = min(
            (abs(parameters_per_layer(make(*ranks).wrap, config) - reference), ranks) for ranks in candidates
        )
        if off > TOLERANCE * reference:
            raise ValueError(f"no rank of {make(*best).title} has about {reference} parameters per layer")
        return make(*best)

    def levels(name: str, title: str) -> Callable[..., Kind]:
        return lambda *ranks: smore(name, title, *ranks)

    kinds = [
        nearest(lora, one_rank),
        nearest(hydra, one_rank),
        nearest(levels("mixture", "one-level mixture"), falling_ranks(1)),
        nearest(levels("smore-2", "S'MoRE, two levels"), falling_ranks(2)),
        nearest(levels("smore-3", "S'MoRE, three levels"), falling_ranks(3)),
    ]
    return {kind.name: kind for kind in kinds}
