"""Small residual network for images (He et al. 2015, arXiv 1512.03385; blocks as in its table 1, "option B" shortcuts).

x = ReLU(BN(conv3x3(pixels)))                         (N, width, H, W)       a larger stride for larger images
x = ReLU(BN(conv3x3(ReLU(BN(conv3x3(x))))) + x)       depth blocks per stage; each stage after the first halves
                                                      the sides and doubles the width
logits = V mean(x) + b                                (N, classes)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OPTIONS: dict[str, Any] = {"width": 32, "depth": 1, "stages": 4, "dropout": 0.0}


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut: (N, inner, H, W) -> (N, outer, H/stride, W/stride)."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inner != outer:
            self.shortcut = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
        nn.init.zeros_(self.norm2.weight)  # each block starts as its shortcut (Goyal et al. 2017, arXiv 1706.02677)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def stem(width: int, stride: int) -> nn.Sequential:
    """Return the first layers: (N, 3, H, W) -> (N, width, H/stride, W/stride); stride is a power of 2."""
    layers: list[nn.Module] = []
    inner = 3
    while True:
        step = 2 if stride > 1 else 1
        layers += [nn.Conv2d(inner, width, 3, step, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        inner, stride = width, stride // 2
        if stride <= 1:
            return nn.Sequential(*layers)


class ImageCNN(nn.Module):
    """Pixels (N, 3, H, W) -> logits (N, classes)."""

    def __init__(self, image_size: int, classes: int, width: int, depth: int, stages: int, dropout: float) -> None:
        super().__init__()
        self.stem = stem(width, stem_stride(image_size))
        blocks: list[nn.Module] = []
        inner = width
        for stage in range(stages):
            outer = width * 2**stage
            for number in range(depth):
                blocks.append(Block(inner, outer, 2 if stage and not number else 1))
                inner = outer
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(inner, classes)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        # channels_last: about twice as fast on CPU
        x = pixel_values.contiguous(memory_format=torch.channels_last)
        x = self.blocks(self.stem(x))
        return self.head(self.dropout(x.mean((2, 3))))  # type: ignore[no-any-return]


def stem_stride(image_size: int) -> int:
    """Return how much the stem shrinks images of this side, so that the first stage works on at most 64 x 64 points."""
    stride = 1
    while image_size // stride > 64:
        stride *= 2
    return stride


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions a task adds (kind, image_size, classes)."""
    network = ImageCNN(**{key: value for key, value in options.items() if key != "kind"})
    return network.to(memory_format=torch.channels_last)
