"""Convolutions that say a character every 20 ms: over time and frequency first, then over time alone; for CTC.

    x = features                                      (N, 1, bands, T): frames of 10 ms
    x = ReLU(norm(conv3x3(x * mask)))                 three times, 1, 2 and 3 times `front` channels; bands halve each time
    x = ReLU(norm(W x))                               (N, width, T/stride): all bands of a step together
    x = ReLU(x + unit(ReLU(unit(x))))                 `depth` times
    logits = W ReLU(unit_wide(x)) + b                 (N, T/stride, classes)

    unit(x) = norm(pointwise(depthwise(x * mask)))    depthwise: one filter per channel over `kernel` steps

Filters over a few neighbouring bands answer alike to a voice whose resonances lie a little higher or lower, as those of
another speaker do (Deep Speech 2, Amodei et al. 2015, arXiv 1512.02595, section 3.5); the units are those of QuartzNet
(arXiv 1910.10261). Steps past the end of a row are zeroed before every filter over time, so a row's logits do not depend
on how far the batch is padded; filters of one step need no such care.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OPTIONS: dict[str, Any] = {"width": 192, "depth": 4, "kernel": 11, "front": 16, "dropout": 0.1}
"""Channels, residual blocks, steps a depthwise filter sees (odd), channels of the first layer, and share of channels
dropped in training."""


class Front(nn.Module):
    """Three layers over frequency and time, then all bands of a step into one vector; (N, T, bands) -> (N, D, T/stride)."""

    def __init__(self, bands: int, stride: int, channels: int, out: int) -> None:
        super().__init__()
        self.stride = stride
        sizes = (1, channels, 2 * channels, 3 * channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(sizes[i], sizes[i + 1], 3, stride=(2, stride if i == 0 else 1), padding=1, bias=False)
            for i in range(3)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in sizes[1:])
        for _ in self.convs:
            bands = -(-bands // 2)
        self.merge = nn.Conv2d(sizes[-1], out, (bands, 1), bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the steps."""
        x = features.transpose(1, 2).unsqueeze(1)
        every = 1
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu(norm(conv(x * _mask(x, lengths, every).unsqueeze(1))))
            every = self.stride
        return torch.relu(self.norm(self.merge(x))).squeeze(2)


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
        self, bands: int, classes: int, stride: int, width: int, depth: int, kernel: int, front: int, dropout: float
    ) -> None:
        super().__init__()
        self.stride = stride
        self.front = Front(bands, stride, front, width)
        self.blocks = nn.ModuleList(Block(width, kernel, dropout) for _ in range(depth))
        self.wide = Unit(width, 2 * width, kernel, dilation=2)
        self.dropout = nn.Dropout1d(dropout)
        self.head = nn.Conv1d(2 * width, classes, 1)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return logits; those of steps past a row's ceil(length / stride) mean nothing."""
        x = self.front(features, lengths)
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
