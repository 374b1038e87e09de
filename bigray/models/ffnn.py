"""Feed-forward network over the mean of word embeddings ("deep averaging", Iyyer et al. 2015, aclanthology P15-1162).

x = mean over t of E[token_t]            (N, width)
h = GELU(W_i h + b_i), i = 1..depth      (N, hidden)
logits = V h + c                         (N, classes)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OPTIONS = {"text": {"width": 128, "hidden": 256, "depth": 1, "dropout": 0.3}}


class TextFFNN(nn.Module):
    """Token ids and mask (N, T) -> logits (N, classes)."""

    def __init__(self, vocabulary: int, classes: int, width: int, hidden: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        layers: list[nn.Module] = []
        size = width
        for _ in range(depth):
            layers += [nn.Linear(size, hidden), nn.GELU(), nn.Dropout(dropout)]
            size = hidden
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(size, classes)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        mask = attention_mask.unsqueeze(-1).to(self.embedding.weight.dtype)
        total = (self.embedding(input_ids) * mask).sum(1)
        mean = total / mask.sum(1).clamp(min=1.0)
        return self.head(self.layers(mean))  # type: ignore[no-any-return]


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions a task adds (kind, vocabulary, classes)."""
    return TextFFNN(**{key: value for key, value in options.items() if key != "kind"})
