"""Convolutions over a question and its context that say where in the context the answer begins and ends.

    x_t = E[token_t] + S[segment_t] + M[match_t]          (N, T, width); match: the token occurs in the question
    h_0 = x + W q,   q = mean of x over the question      what is asked is known at every place
    h_i = h_{i-1} + ReLU(conv_i(LayerNorm(h_{i-1})))      kernel 5, dilation 1, 2, 4, ...
    start, end = V h                                      (N, T) each

Exact match is the strongest single feature of Chen et al. 2017 (arXiv 1704.00051); convolutions in the place of
recurrence are those of QANet (arXiv 1804.09541), without its attention. Small, for narrow domains: a pretrained encoder
is far better on open ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OPTIONS: dict[str, Any] = {"width": 96, "depth": 4, "kernel": 5, "dropout": 0.2}


class SpanCNN(nn.Module):
    """Token ids, mask and segments (N, T) -> start and end logits, (N, T) each. Segment 0 is the question."""

    def __init__(self, vocabulary: int, width: int, depth: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.segment = nn.Embedding(2, width)
        self.match = nn.Parameter(torch.randn(width) * 0.02)
        self.asked = nn.Linear(width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=(kernel // 2) * 2**i, dilation=2**i) for i in range(depth)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, 2)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return start and end logits."""
        mask = attention_mask.to(self.match.dtype).unsqueeze(-1)
        question = mask * (token_type_ids == 0).to(self.match.dtype).unsqueeze(-1)
        same = (input_ids.unsqueeze(2) == input_ids.unsqueeze(1)).to(self.match.dtype)
        match = (same * question.transpose(1, 2)).amax(-1, keepdim=True)
        x = self.embedding(input_ids) + self.segment(token_type_ids) + match * self.match
        asked = (x * question).sum(1, keepdim=True) / question.sum(1, keepdim=True).clamp(min=1.0)
        state = self.dropout(x + self.asked(asked))
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            # padding is zeroed before every convolution, so the answer does not depend on the batch
            heard = convolution((norm(state) * mask).transpose(1, 2)).transpose(1, 2)
            state = state + self.dropout(torch.relu(heard))
        start, end = self.head(state).unbind(-1)
        return start, end


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions a task adds (kind, vocabulary)."""
    return SpanCNN(**{key: value for key, value in options.items() if key != "kind"})
