"""The same shapes as gpu_bench in PyTorch, eager and compiled: decoding of one stream and of 64, and a prompt.

python3 addon/bench/torch_peer.py [--shape llama-3.2-1b|llama-3-8b|tiny] [--device cuda] [--rounds 64] [--official PATH]
Random weights in bfloat16, keys and values in a buffer of fixed length, greedy tokens, a median of the rounds.
PATH is a checkout of the official S'MoRE implementation (https://github.com/ZimpleX/SMoRE-LLM, with what its peft and
model_moe need installed): its layer then is on gate, up and down, with the tree of gpu_bench. It knows one adapter at a time.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

CONTEXT = 256  # positions of a stream before it is measured
Adapt = Callable[[torch.Tensor], torch.nn.Module]


@dataclass(frozen=True)
class Shape:
    layers: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    prompt: int = 4096

    def products(self) -> int:
        attention = 2 * (self.heads + self.kv_heads) * self.head_dim * self.width
        return self.layers * (attention + 3 * self.width * self.ffn)


SHAPES = {
    "llama-3.2-1b": Shape(16, 2048, 8192, 32, 8, 64, 128256, True),
    "llama-3-8b": Shape(32, 4096, 14336, 32, 8, 128, 128256, False),
    "tiny": Shape(2, 256, 512, 8, 4, 32, 1024, True, prompt=64),
}


class Llama:
    """Weights as plain tensors; `forward` is what is compiled."""

    def __init__(self, shape: Shape, streams: int, positions: int, device: str, adapt: Adapt | None = None):
        def weight(*size: int) -> torch.Tensor:
            return torch.randn(*size, dtype=torch.bfloat16, device=device) * 0.02

        self.shape = shape
        q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.embedding = weight(shape.vocab, shape.width)
        self.output = self.embedding if shape.tied else weight(shape.vocab, shape.width)
        self.final_norm = weight(shape.width)
        self.layers = [
            {
                "norm": weight(shape.width),
                "qkv": weight(q + 2 * kv, shape.width),
                "o": weight(shape.width, q),
                "ffn_norm": weight(shape.width),
                "gate_up": weight(2 * shape.ffn, shape.width),
                "down": weight(shape.width, shape.ffn),
                "keys": torch.zeros(
                    streams, shape.kv_heads, positions, shape.head_dim, dtype=torch.bfloat16, device=device
                ),
                "values": torch.zeros(
                    streams, shape.kv_heads, positions, shape.head_dim, dtype=torch.bfloat16, device=device
                ),
            }
            for _ in range(shape.layers)
        ]
        self.adapted = [] if adapt is None else [self.adapted_ffn(w, adapt) for w in self.layers]
        at = torch.arange(positions, device=device, dtype=torch.float32)
        steps = torch.arange(0, shape.head_dim, 2, device=device, dtype=torch.float32) / shape.head_dim
        angles = torch.outer(at, 500000.0**-steps)
        self.cos, self.sin = angles.cos().to(torch.bfloat16), angles.sin().to(torch.bfloat16)
        self.reach = torch.arange(positions, device=device)

    def adapted_ffn(self, w: dict[str, torch.Tensor], adapt: Adapt) -> tuple[torch.nn.Module, ...]:
        gate, up = w["gate_up"].chunk(2)
        return tuple(adapt(weight) for weight in (gate, up, w["down"]))

    def ffn(self, layer: int, h: torch.Tensor) -> torch.Tensor:
        w = self.layers[layer]
        if not self.adapted:
            gate, up = F.linear(h, w["gate_up"]).chunk(2, dim=-1)
            return F.linear(F.silu(gate) * up, w["down"])
        gate, up, down = self.adapted[layer]
        every = torch.ones(h.shape[:-1], device=h.device)  # tokens that its statistics count
        inner = F.silu(gate(h, every).hidden_states) * up(h, every).hidden_states
        return down(inner, every).hidden_states

    def rotate(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, dim=-1)
        cos, sin = self.cos[positions], self.sin[positions]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)

    def forward(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """tokens: [B, T] at `positions` [T] of every stream; the next tokens, [B]."""
        s = self.shape
        x = self.embedding[tokens]
        mask = self.reach[None, :] <= positions[:, None]
        for layer, w in enumerate(self.layers):
            h = F.rms_norm(x, (s.width,), w["norm"], 1e-5)
            qkv = F.linear(h, w["qkv"]).unflatten(-1, (-1, s.head_dim)).transpose(1, 2)
            q, k, v = qkv.split((s.heads, s.kv_heads, s.kv_heads), dim=1)
            w["keys"][:, :, positions] = self.rotate(k, positions)
            w["values"][:, :, positions] = v
            y = F.scaled_dot_product_attention(
                self.rotate(q, positions), w["keys"], w["values"], attn_mask=mask, enable_gqa=True
            )
            x = x + F.linear(y.transpose(1, 2).flatten(-2), w["o"])
            h = F.rms_norm(x, (s.width,), w["ffn_norm"], 1e-5)
            x = x + self.ffn(layer, h)
        last = F.rms_norm(x[:, -1], (s.width,), self.final_norm, 1e-5)
        return F.linear(last, self.output).argmax(-1)


def official(path: str) -> Adapt:
    """Puts the official layer on a weight: 4/4 experts, 2/2 active, rank 8, as gpu_bench's trees."""
    for package in ("peft", "model_moe"):
        source = Path(path) / package / "src"
        if not source.is_dir():
            sys.exit(f"{source} is not there: --official takes a checkout of https://github.com/ZimpleX/SMoRE-LLM")
        sys.path.insert(0, str(source))
    from peft.tuners.hier_moe.layer import SMoREFFN

    def adapt(weight: torch.Tensor) -> torch.nn.Module:
        outputs, inputs = weight.shape
        linear = torch.nn.Linear(inputs, outputs, bias=False, dtype=weight.dtype, device=weight.device)
        linear.weight = torch.nn.Parameter(weight)
        tree = {"r": [8, 8], "s": [4, 4], "f": [2, 2], "d_g": [16, 16], "dim_downproj_x": 32}
        how = {"gate_type": "switch", "gate_arch": "mlp", "gate_act_fn": "tanh", "expert_act_fn": "tanh"}
        return SMoREFFN(linear, "default", **tree, **how).to(weight.device, weight.dtype).eval()

    return adapt


def timed(device: str, work) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def report(column: str, name: str, tokens: int, seconds: float, more: str = "") -> None:
    print(f"{column:9} {name:44} {tokens / seconds:9.0f} tokens/s  {seconds * 1e3:8.3f} ms{more}", flush=True)


def streams_name(streams: int) -> str:
    return f"{streams} stream" if streams == 1 else f"{streams} streams"


def measure(column: str, shape: Shape, streams: int, rounds: int, device: str, adapt: Adapt | None = None) -> None:
    compiled = column == "compiled"
    positions = CONTEXT + rounds + 8
    model = Llama(shape, streams, positions, device, adapt)
    forward = torch.compile(model.forward, mode="reduce-overhead") if compiled else model.forward
    tokens = torch.zeros(streams, 1, dtype=torch.long, device=device)
    times = []
    for i in range(rounds + 8):
        at = torch.tensor([CONTEXT + i], device=device)

        def step():
            nonlocal tokens
            tokens = forward(tokens, at)[:, None].clone()

        times.append(timed(device, step))
    name = streams_name(streams) + ("" if adapt is None else " on 1 tree")
    report(column, name, streams, statistics.median(times[8:]))  # the first ones compile


def measure_prompt(column: str, shape: Shape, device: str) -> None:
    compiled = column == "compiled"
    model = Llama(shape, 1, shape.prompt, device)
    forward = torch.compile(model.forward) if compiled else model.forward
    tokens = torch.randint(shape.vocab, (1, shape.prompt), device=device)
    at = torch.arange(shape.prompt, device=device)
    best = min(timed(device, lambda: forward(tokens, at)) for _ in range(6))
    rate = 2 * shape.products() * shape.prompt / best * 1e-12
    report(column, f"a prompt of {shape.prompt}", shape.prompt, best, f"  {rate:.1f} TFLOP/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.2-1b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=64)
    parser.add_argument("--official", metavar="PATH", help="a checkout of the official S'MoRE implementation")
    asked = parser.parse_args()
    shape = SHAPES[asked.shape]
    with torch.inference_mode():
        for column in ("eager", "compiled"):
            for streams in (1, 64):
                measure(column, shape, streams, asked.rounds, asked.device)
            measure_prompt(column, shape, asked.device)
        if asked.official is not None:
            adapt = official(asked.official)
            for streams in (1, 64):
                measure("official", shape, streams, asked.rounds, asked.device, adapt)


if __name__ == "__main__":
    main()
