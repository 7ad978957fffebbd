"""What the router's encoder is trained with."""

from __future__ import annotations

import torch
from torch import Tensor


def contrast(vectors: Tensor, groups: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, L_out): every vector is to find those of its group among all others."""
    own = torch.eye(len(vectors), dtype=torch.bool)
    logits = (vectors @ vectors.T / temperature).masked_fill(own, float("-inf"))
    log_shares = (logits - logits.logsumexp(1, keepdim=True)).masked_fill(own, 0)
    friends = (groups[:, None] == groups[None, :]) & ~own
    return -((log_shares * friends).sum(1) / friends.sum(1)).mean()
