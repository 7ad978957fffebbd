"""A frozen Llama in torch, read from the GGUF file that the server runs.

Weights are dequantised, so training sees exactly the numbers that serving sees. Shapes in comments: N rows, T tokens of a
row, C cached tokens, D hidden width, H query heads, G key/value heads, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Config:
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    rope_theta: float
    norm_eps: float

    @property
    def head_width(self) -> int:
        return self.hidden // self.heads


class Gguf:
    """Metadata and dequantised tensors of one GGUF file."""

    def __init__(self, path: Path) -> None:
        self._reader = gguf.GGUFReader(path)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def value(self, key: str):
        field_ = self._reader.fields.get(key)
        if field_ is None:
            raise KeyError(f"GGUF metadata has no {key}")
        return field_.contents()

    def tensor(self, name: str) -> Tensor:
        stored = self._tensors[name]
        return torch.from_numpy(np.array(gguf.quants.dequantize(stored.data, stored.tensor_type), dtype=np.float32))

    def config(self) -> Config:
        if (arch := self.value("general.architecture")) != "llama":
            raise ValueError(f"architecture {arch} is not supported, only llama")
        return Config(
            layers=self.value("llama.block_count"),
            hidden=self.value("llama.embedding_length"),
            intermediate=self.value("llama.feed_forward_length"),
            heads=self.value("llama.attention.head_count"),
            kv_heads=self.value("llama.attention.head_count_kv"),
            rope_theta=self.value("llama.rope.freq_base"),
            norm_eps=self.value("llama.attention.layer_norm_rms_epsilon"),
        )


@dataclass
class Cache:
    """Keys and values of tokens seen so far. A cache of one row serves as the prefix of any number of rows."""

    valid: Tensor  # bool [N or 1, C]; false at padding
    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # each [N or 1, G, C, K]


class Mlp(nn.Module):
    """The gated MLP. The three projections are attributes so that an adapter can wrap them."""

    def __init__(self, gate: nn.Module, up: nn.Module, down: nn.Module) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = gate, up, down

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class FrozenLinear(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight)


class Layer(nn.Module):
    def __init__(self, source: Gguf, index: int, config: Config, dtype: torch.dtype) -> None:
        super().__init__()

        def linear(name: str) -> FrozenLinear:
            return FrozenLinear(source.tensor(f"blk.{index}.{name}.weight").to(dtype))

        self.config = config
        self.q, self.k, self.v, self.o = (linear(f"attn_{name}") for name in ("q", "k", "v", "output"))
        self.mlp = Mlp(linear("ffn_gate"), linear("ffn_up"), linear("ffn_down"))
        for name in ("attn_norm", "ffn_norm"):
            self.register_buffer(name, source.tensor(f"blk.{index}.{name}.weight"), persistent=False)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (self.config.hidden,), weight, self.config.norm_eps)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        config = self.config
        n, t, _ = x.shape
        h = self._norm(x, self.attn_norm)

        def heads(y: Tensor, count: int) -> Tensor:
            return y.view(n, t, count, config.head_width).transpose(1, 2)

        q = rotate(heads(self.q(h), config.heads), rotation)
        k = rotate(heads(self.k(h), config.kv_heads), rotation)
        v = heads(self.v(h), config.kv_heads)
        if past is not None:
            k, v = (torch.cat([old.expand(n, -1, -1, -1), new], dim=2) for old, new in zip(past, (k, v)))
        y = attention(q, k, v, mask)
        x = x + self.o(y.transpose(1, 2).reshape(n, t, config.hidden))
        return x + self.mlp(self._norm(x, self.ffn_norm)), (k, v)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """q [N, H, T, K], k and v [N, G, C, K], mask [N, 1, T, C], true where seen, to [N, H, T, K].

    The queries that share a key/value head are rows of one product: on a CPU, forward and backward take a fifth of
    the time of torch's own attention with a mask.
    """
    n, heads, t, width = q.shape
    groups = k.shape[1]
    hidden = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)[:, :, None]  # [N, 1, 1, T, C]
    scores = (q * width**-0.5).reshape(n, groups, -1, width) @ k.transpose(-1, -2)  # [N, G, H/G * T, C]
    seen = scores.float().view(n, groups, heads // groups, t, -1) + hidden
    return (seen.softmax(-1).to(v.dtype).view(scores.shape) @ v).view(n, heads, t, width)


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding of adjacent pairs: GGUF stores q and k permuted for this order."""
    cos, sin = rotation  # [N, 1, T, K/2]
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)


class Llama(nn.Module):
    def __init__(self, source: Gguf, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = source.config()
        embedding = source.tensor("token_embd.weight")
        self.register_buffer("embedding", embedding, persistent=False)
        self.register_buffer("head", embedding.to(dtype), persistent=False)  # tied
        self.register_buffer("norm", source.tensor("output_norm.weight"), persistent=False)
        self.layers = nn.ModuleList(Layer(source, i, self.config, dtype) for i in range(self.config.layers))

    def forward(self, ids: Tensor, valid: Tensor, past: Cache | None = None) -> tuple[Tensor, Cache]:
        """Hidden states [N, T, D] after the last norm. Rows are padded on the right; `valid` is false at padding."""
        n, t = ids.shape
        before = past.valid.expand(n, -1) if past else valid.new_zeros(n, 0)
        positions = before.sum(1, keepdim=True) + torch.arange(t)
        causal = torch.ones(t, t, dtype=torch.bool).tril() & valid[:, None, :]
        # A padded query must see something, or its softmax is NaN: it sees itself.
        causal = causal | torch.eye(t, dtype=torch.bool)
        mask = torch.cat([before[:, None, :].expand(-1, t, -1), causal], dim=2)[:, None]
        rotation = self._rotation(positions)
        x = self.embedding[ids]
        cache = Cache(valid=torch.cat([before, valid], dim=1))
        for index, layer in enumerate(self.layers):
            x, pair = layer(x, rotation, mask, past.layers[index] if past else None)
            cache.layers.append(pair)
        return F.rms_norm(x.float(), (self.config.hidden,), self.norm, self.config.norm_eps), cache

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden.to(self.head.dtype), self.head).float()

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        width = self.config.head_width
        frequency = self.config.rope_theta ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
        angle = (positions[:, None, :, None] * frequency).float()
        return angle.cos(), angle.sin()
