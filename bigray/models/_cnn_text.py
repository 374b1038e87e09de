"""Convolutions over word embeddings with max-pooling over time (Kim 2014, arXiv 1408.5882).

c_k = max over t of ReLU(conv_k(E[token])_t)     one per kernel size, (N, width)
logits = V [c_3; c_4; c_5] + b                   (N, classes)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OPTIONS: dict[str, Any] = {"embedding": 128, "width": 128, "kernels": [2, 3, 5], "dropout": 0.4}


class TextCNN(nn.Module):
    """Token ids and mask (N, T) -> logits (N, classes)."""

    def __init__(
        self, vocabulary: int, classes: int, embedding: int, width: int, kernels: list[int], dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, width, size, padding=size // 2) for size in kernels)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width * len(kernels), classes)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        mask = attention_mask.unsqueeze(1).to(self.embedding.weight.dtype)
        words = self.embedding(input_ids).transpose(1, 2) * mask
        length = mask.shape[-1]
        # an even kernel makes one more step than there are words; padded steps are zeroed, which ReLU's max ignores
        pooled = [(torch.relu(conv(words))[..., :length] * mask).amax(-1) for conv in self.convolutions]
        return self.head(self.dropout(torch.cat(pooled, 1)))  # type: ignore[no-any-return]


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions a task adds (kind, vocabulary, classes)."""
    return TextCNN(**{key: value for key, value in options.items() if key != "kind"})
