"""Greedy decoding of many prompts in one batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .adapter import Adapter
from .base import Llama


@dataclass
class Continuation:
    ids: list[int]  # with the end token, when it came
    gaps: list[float]  # distance of the two largest logits at each step
    first_top10: list[tuple[int, float]]  # token and log probability at the first step


@torch.no_grad()
def greedy(
    model: Llama, prompts: list[list[int]], end_id: int, limit: int, adapter: Adapter | None = None
) -> list[Continuation]:
    width = max(map(len, prompts))
    ids = torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in prompts])
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    valid = torch.arange(width) < lengths[:, None]
    last, cache, rows = lengths - 1, None, torch.arange(len(prompts))
    done = [Continuation([], [], []) for _ in prompts]
    running = torch.ones(len(prompts), dtype=torch.bool)
    for step in range(limit):
        if adapter:
            adapter.routing.begin(valid)
        hidden, cache = model(ids, valid, cache)
        top = model.logits(hidden[rows, last]).log_softmax(-1).topk(10)
        for row in running.nonzero().flatten().tolist():
            values, tokens = top.values[row].tolist(), top.indices[row].tolist()
            if step == 0:
                done[row].first_top10 = list(zip(tokens, values))
            done[row].ids.append(tokens[0])
            done[row].gaps.append(values[0] - values[1])
        ids = top.indices[:, :1]
        running &= ids[:, 0] != end_id
        if not running.any():
            break
        valid, last = running[:, None], torch.zeros_like(last)
    return done
