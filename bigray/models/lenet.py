"""Convolution and pooling, twice, then two dense layers (LeNet: LeCun et al. 1998, doi 10.1109/5.726791).

x = maxpool2(ReLU(conv3x3(pixels)))          (N, width, S', S')           no padding; S' = (S - 2) / 2
x = maxpool2(ReLU(conv3x3(x)))               (N, 2 width, S'', S'')       S'' = (S' - 2) / 2
h = ReLU(W flatten(x) + b)                   (N, hidden)
logits = V h + c                             (N, classes)

For small images of one centred thing, such as digits or garments. Nearly all weights are in W.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bigray.errors import RecipeError

OPTIONS: dict[str, Any] = {"image": {"width": 32, "hidden": 128, "dropout": 0.3}}
SMALLEST, LARGEST = 10, 64
"""Sides of images, in pixels: below, nothing is left after two poolings; above, W would be enormous."""


class LeNet(nn.Module):
    """Pixels (N, 3, S, S) -> logits (N, classes)."""

    def __init__(self, image_size: int, classes: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        side = ((image_size - 2) // 2 - 2) // 2
        self.conv1 = nn.Conv2d(3, width, 3)
        self.conv2 = nn.Conv2d(width, 2 * width, 3)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(2 * width * side * side, hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = torch.max_pool2d(torch.relu(self.conv1(pixel_values)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.dense(self.dropout(x.flatten(1))))
        return self.head(self.dropout(x))  # type: ignore[no-any-return]


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions a task adds (kind, image_size, classes).

    Raises:
        RecipeError: Images too small or too large for this network.
    """
    size = options["image_size"]
    if not SMALLEST <= size <= LARGEST:
        raise RecipeError(
            f"model.name: lenet takes images of {SMALLEST} to {LARGEST} pixels (got {size}). Use cnn, or set "
            "model.input.image_size.",
            pointer="model.name",
        )
    return LeNet(**{key: value for key, value in options.items() if key != "kind"})
