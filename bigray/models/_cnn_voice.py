"""Convolutions over time and statistics pooling that turn a voice into a vector: an x-vector network with shortcuts.

    x = norm(ReLU(conv5(features)))                    (N, width, T)
    x = x + norm(ReLU(conv3(x)))                       `depth` times, the filter's steps 2, 3, 4, ... apart
    x = norm(ReLU(conv1(x)))                           (N, 3 width, T)
    embedding = W norm([mean(x), deviation(x)]) + b    (N, embedding): both over time

Snyder et al., X-vectors: robust DNN embeddings for speaker recognition, ICASSP 2018; the shortcuts and the last norm
are ECAPA-TDNN's (arXiv 2005.07143). `classes` holds one vector per identity of training. It takes no part in the
embedding: only the loss looks at it (`bigray.tasks._embedding`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OPTIONS: dict[str, Any] = {"width": 128, "depth": 3, "embedding": 128, "dropout": 0.0}
"""Channels, residual layers, numbers in an embedding, and share of pooled statistics dropped in training."""
VARIANCE_FLOOR = 1e-5
"""Added to variances: the square root has no slope at 0."""


class Layer(nn.Module):
    """A convolution over time that keeps the number of steps, ReLU and batch norm: (N, C, T) -> (N, D, T)."""

    def __init__(self, channels: int, out: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, out, kernel, padding=dilation * (kernel // 2), dilation=dilation)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer."""
        return self.norm(torch.relu(self.conv(x)))  # type: ignore[no-any-return]


class VoiceCNN(nn.Module):
    """Features (N, T, bands) -> embeddings (N, embedding), of any length."""

    def __init__(self, bands: int, identities: int, width: int, depth: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.stem = Layer(bands, width, 5)
        self.blocks = nn.ModuleList(Layer(width, width, 3, dilation=2 + number) for number in range(depth))
        self.wide = Layer(width, 3 * width, 1)
        self.norm = nn.BatchNorm1d(6 * width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(6 * width, embedding)
        self.classes = nn.Linear(embedding, identities, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return embeddings."""
        x = self.stem(features.transpose(1, 2))
        for block in self.blocks:
            x = x + block(x)
        x = self.wide(x)
        mean = x.mean(2)
        deviation = ((x - mean.unsqueeze(2)).square().mean(2) + VARIANCE_FLOOR).sqrt()
        return self.head(self.dropout(self.norm(torch.cat([mean, deviation], 1))))  # type: ignore[no-any-return]


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions a task adds (kind, bands, identities)."""
    return VoiceCNN(**{key: value for key, value in options.items() if key != "kind"})
