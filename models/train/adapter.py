"""A base model with S'MoRE trees on its MLPs; saving and loading in the official file format."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .base import Llama
from .smore import Routing, SmoreLinear, Tree

TARGETS = ("gate_proj", "up_proj", "down_proj")


class Adapter:
    """The trees of one adapter, attached to `model`."""

    def __init__(self, model: Llama, tree: Tree, layers: list[int]) -> None:
        self.tree, self.layers, self.routing = tree, layers, Routing()
        self.modules: dict[str, SmoreLinear] = {}
        config = model.config
        for index in layers:
            mlp = model.layers[index].mlp
            for target in TARGETS:
                wide = target == "down_proj"
                inputs, outputs = (config.hidden, config.intermediate)[:: -1 if wide else 1]
                name = f"model.layers.{index}.mlp.{target}"
                tree_linear = SmoreLinear(getattr(mlp, target), inputs, outputs, tree, name, self.routing)
                setattr(mlp, target, tree_linear)
                self.modules[name] = tree_linear

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
