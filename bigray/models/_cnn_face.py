"""Small residual network that turns a face into a vector.

    x = blocks(stem(pixels))                     (N, C, H, W): `bigray.models._cnn_image`, stages of halving sides
    x = norm(depthwise(x))                       (N, C): one filter per channel, as large as the map
    embedding = W x + b                          (N, embedding)

A mean over the map would forget where in the face something is; a filter per channel weighs every place by itself
(global depthwise convolution of MobileFaceNet, arXiv 1804.07573). `classes` holds one vector per identity of training
and takes no part in the embedding: only the loss looks at it (`bigray.tasks._embedding`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bigray.models._cnn_image import Block, stem, stem_stride

OPTIONS: dict[str, Any] = {"width": 32, "depth": 1, "stages": 4, "embedding": 128, "dropout": 0.0}


class FaceCNN(nn.Module):
    """Pixels (N, 3, S, S) -> embeddings (N, embedding)."""

    def __init__(
        self, image_size: int, identities: int, width: int, depth: int, stages: int, embedding: int, dropout: float
    ) -> None:
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
        side = image_size
        for _ in range((stem_stride(image_size) - 1).bit_length() + stages - 1):
            side = -(-side // 2)  # a 3x3 convolution of stride 2 and padding 1 rounds up
        self.place = nn.Conv2d(inner, inner, side, groups=inner, bias=False)
        self.norm = nn.BatchNorm2d(inner)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(inner, embedding)
        self.classes = nn.Linear(embedding, identities, bias=False)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return embeddings."""
        # channels_last: about twice as fast on CPU
        x = pixel_values.contiguous(memory_format=torch.channels_last)
        x = self.norm(self.place(self.blocks(self.stem(x))))
        return self.head(self.dropout(x.flatten(1)))  # type: ignore[no-any-return]


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions a task adds (kind, image_size, identities)."""
    network = FaceCNN(**{key: value for key, value in options.items() if key != "kind"})
    return network.to(memory_format=torch.channels_last)
