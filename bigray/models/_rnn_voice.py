"""LSTM over mel bands that turns a voice into a vector: the speaker encoder of GE2E.

    h_t = LSTM(mel_t, h_{t-1})                         (N, T, hidden), `depth` layers, each over the states of the one before
    x = ReLU(W h_T + b)                                (N, embedding): the last layer's last state
    embedding = x / |x|                                of length 1, no number below 0

Wan et al., Generalized end-to-end loss for speaker verification, ICASSP 2018 (arXiv 1710.10467); the ReLU is that of
Resemblyzer (https://github.com/resemble-ai/Resemblyzer), whose sizes and names of layers are used, so that its weights
load. Here it learns by classes, as `bigray.models._cnn_voice` does, and not by GE2E's loss: `classes` takes no part in
the embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OPTIONS: dict[str, Any] = {"hidden": 256, "depth": 3, "embedding": 256, "dropout": 0.0}
"""Numbers in a state, layers, numbers in an embedding, and share of states dropped between layers in training."""


class VoiceRNN(nn.Module):
    """Features (N, T, bands) -> embeddings (N, embedding)."""

    def __init__(self, bands: int, identities: int, hidden: int, depth: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(bands, hidden, depth, batch_first=True, dropout=dropout if depth > 1 else 0.0)
        self.linear = nn.Linear(hidden, embedding)
        self.classes = nn.Linear(embedding, identities, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return embeddings."""
        states, _ = self.lstm(features)
        return nn.functional.normalize(torch.relu(self.linear(states[:, -1])))


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions a task adds (kind, bands, identities)."""
    return VoiceRNN(**{key: value for key, value in options.items() if key != "kind"})
