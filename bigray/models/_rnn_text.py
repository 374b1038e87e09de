"""Recurrent network over word embeddings: LSTM (Hochreiter and Schmidhuber 1997) or GRU (arXiv 1406.1078).

    h_t = cell(E[token_t], h_{t-1})          forward in time, (N, T, hidden)
    s   = max over real t of h_t             (N, hidden)
    logits = V s + c                         (N, classes)

Forward in time only: padding comes after the text, so it cannot change the states before it, and the answer for a
text does not depend on the batch it is in.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OPTIONS: dict[str, Any] = {"width": 128, "hidden": 192, "depth": 1, "dropout": 0.3, "cell": "lstm"}


class TextRNN(nn.Module):
    """Token ids and mask (N, T) -> logits (N, classes)."""

    def __init__(
        self, vocabulary: int, classes: int, width: int, hidden: int, depth: int, dropout: float, cell: str
    ) -> None:
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.rnn = kind(width, hidden, depth, batch_first=True, dropout=dropout if depth > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, classes)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        states, _ = self.rnn(self.dropout(self.embedding(input_ids)))
        padding = attention_mask.unsqueeze(-1) == 0
        summary = states.masked_fill(padding, -1e4).amax(1)
        return self.head(self.dropout(summary))  # type: ignore[no-any-return]


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions a task adds (kind, vocabulary, classes)."""
    return TextRNN(**{key: value for key, value in options.items() if key != "kind"})
