"""A base model with trainable modules on its MLPs; S'MoRE trees among them, saved and loaded in the official file format."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .base import Config, Llama
from .smore import Routing, SmoreLinear, Tree

TARGETS = ("gate_proj", "up_proj", "down_proj")


def sizes_of(config: Config, target: str) -> tuple[int, int]:
    """Inputs and outputs of one of TARGETS."""
    sizes = (config.hidden, config.intermediate)
    return sizes[::-1] if target == "down_proj" else sizes


# From a frozen linear, its inputs and outputs, its name and where routing is told, to the module that takes its place.
Wrap = Callable[[nn.Module, int, int, str, Routing], nn.Module]


class Attached:
    """The modules that stand in place of the MLPs' linears of some layers of `model`. Each has `tensors()` by name."""

    def __init__(self, model: Llama, layers: list[int], wrap: Wrap) -> None:
        self.layers, self.routing = layers, Routing()
        self.modules: dict[str, nn.Module] = {}
        for index in layers:
            mlp = model.layers[index].mlp
            for target in TARGETS:
                name = f"model.layers.{index}.mlp.{target}"
                inputs, outputs = sizes_of(model.config, target)
                self.modules[name] = wrap(getattr(mlp, target), inputs, outputs, name, self.routing)
                setattr(mlp, target, self.modules[name])

    def parameters(self) -> list[nn.Parameter]:
        return [p for module in self.modules.values() for p in module.parameters()]

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"base_model.model.{name}.{key}": value.detach()
            for name, module in self.modules.items()
            for key, value in module.tensors().items()
        }

    def copy_from(self, tensors: dict[str, Tensor]) -> None:
        own = self.tensors()
        if own.keys() != tensors.keys():
            raise ValueError(f"tensors missing or unknown: {sorted(own.keys() ^ tensors.keys())[:4]}")
        for key, value in own.items():
            value.copy_(tensors[key])


class Adapter(Attached):
    """The trees of one adapter, attached to `model`."""

    def __init__(self, model: Llama, tree: Tree, layers: list[int]) -> None:
        self.tree = tree
        super().__init__(
            model,
            layers,
            lambda base, inputs, outputs, name, routing: SmoreLinear(base, inputs, outputs, tree, name, routing),
        )

    def save(self, folder: Path, base_name: str, dtype: torch.dtype = torch.bfloat16) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        shape = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self.tree).items()
        }
        config = {
            "peft_type": "HIER_MOE",
            "moe_arch": "smore",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_name,
            "inference_mode": True,
            "target_modules": list(TARGETS),
            "layers_to_transform": self.layers,
            **shape,
        }
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
        stored = {key: value.to(dtype).contiguous() for key, value in self.tensors().items()}
        save_file(stored, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def load(model: Llama, folder: Path) -> Adapter:
    config = json.loads((folder / "adapter_config.json").read_text())
    fields = {field.name for field in dataclasses.fields(Tree)}
    tree = Tree(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in config.items() if key in fields}
    )
    adapter = Adapter(model, tree, config["layers_to_transform"])
    adapter.copy_from(load_file(folder / "adapter_model.safetensors"))
    return adapter
