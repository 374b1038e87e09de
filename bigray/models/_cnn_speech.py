"""Convolutions over time that say a character per step, after QuartzNet (arXiv 1910.10261), for CTC.

    x = ReLU(conv(features))                         (N, width, T/stride): steps of 20 ms from frames of 10 ms
    x = ReLU(x + unit(ReLU(unit(x))))                 `depth` times
    logits = W ReLU(unit_wide(x)) + b                (N, T/stride, classes)

    unit(x) = norm(pointwise(depthwise(x * mask)))   depthwise: one filter per channel over `kernel` steps

Steps past the end of a row are zeroed before every filter over time, so a row's logits do not depend on how far the
batch is padded; filters of one step need no such care.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OPTIONS: dict[str, Any] = {"width": 192, "depth": 5, "kernel": 11, "dropout": 0.1}
"""Channels, residual blocks, steps a depthwise filter sees (odd), and share of channels dropped in training."""


class Unit(nn.Module):
    """Depthwise-separable convolution over time with batch norm; (N, C, T) -> (N, D, T)."""

    def __init__(self, channels: int, out: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        reach = dilation * (kernel // 2)
        self.depthwise = nn.Conv1d(
            channels, channels, kernel, padding=reach, dilation=dilation, groups=channels, bias=False
        )
        self.pointwise = nn.Conv1d(channels, out, 1, bias=False)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Apply the unit where ``mask`` (N, 1, T) is 1."""
        return self.norm(self.pointwise(self.depthwise(x * mask)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Two units and a way around them."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.first = Unit(width, width, kernel)
        self.second = Unit(width, width, kernel)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (N, width, T)."""
        y = self.dropout(torch.relu(self.first(x, mask)))
        return self.dropout(torch.relu(x + self.second(y, mask)))  # type: ignore[no-any-return]


class SpeechCNN(nn.Module):
    """Features (N, T, bands) and lengths (N,) in frames -> logits (N, ceil(T / stride), classes)."""

    def __init__(
        self, bands: int, classes: int, stride: int, width: int, depth: int, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.stride = stride
        self.stem = nn.Conv1d(bands, width, 5, stride=stride, padding=2, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.blocks = nn.ModuleList(Block(width, kernel, dropout) for _ in range(depth))
        self.wide = Unit(width, 2 * width, kernel, dilation=2)
        self.dropout = nn.Dropout1d(dropout)
        self.head = nn.Conv1d(2 * width, classes, 1)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return logits; those of steps past a row's ceil(length / stride) mean nothing."""
        frames = features.transpose(1, 2)
        x = torch.relu(self.norm(self.stem(frames * _mask(frames, lengths, 1))))
        mask = _mask(x, lengths, self.stride)
        for block in self.blocks:
            x = block(x, mask)
        x = self.dropout(torch.relu(self.wide(x, mask)))
        return self.head(x).transpose(1, 2)  # type: ignore[no-any-return]


def _mask(x: torch.Tensor, lengths: torch.Tensor, stride: int) -> torch.Tensor:
    """Return (N, 1, T) of x's type: 1 for steps that begin before the row's length in frames."""
    begins = torch.arange(x.shape[-1], device=x.device) * stride
    return (begins[None, None, :] < lengths[:, None, None]).to(x.dtype)


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions a task adds (kind, bands, classes, stride)."""
    return SpeechCNN(**{key: value for key, value in options.items() if key != "kind"})
