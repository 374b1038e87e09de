"""FCOS: fully convolutional one-stage object detection, without anchor boxes (Tian et al. 2019, arXiv 1904.01355).

    trunk     pixels (N, 3, H, W) -> maps at strides 8, 16, 32
    pyramid   p_l = conv3x3(conv1x1(c_l) + upsample(p_{l+1}))              (Lin et al. 2016, arXiv 1612.03144)
    towers    depth x [conv3x3, group norm, ReLU], one for classes and one for boxes, shared by all levels
    heads     class logits; distances to left, top, right, bottom in units of the stride (ReLU, as in FCOS's later
              version); centreness logit

A trunk is bigray's own ``small`` one, or any torchvision classifier made of ``features`` (``mobilenet_v2``,
``mobilenet_v3_large``, ``efficientnet_b0``, ...) with its last 1x1 expansion left out. It keeps the parameter names of
torchvision, so that the weights of a classifier can be loaded into it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from bigray.errors import RecipeError
from bigray.models._cnn_image import Block, stem

STRIDES = (8, 16, 32)
"""Pixels between neighbouring points, per level."""
OPTIONS: dict[str, dict[str, Any]] = {"image": {"trunk": "small", "trunk_width": 32, "width": 64, "depth": 2}}
"""trunk: its name. trunk_width: channels of the ``small`` trunk's first stage. width, depth: of the towers."""

GROUPS = 8
"""Groups of each group norm; widths are multiples of it."""
PRIOR = 0.01
"""Probability of every class at the start, so that the many background points do not drown the rest (FCOS, 3.1)."""


class Tower(nn.Sequential):
    """(N, width, H, W) -> the same shape."""

    def __init__(self, width: int, depth: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, width), nn.ReLU()]
        super().__init__(*layers)


class Detector(nn.Module):
    """Pixels -> raw scores and distances for every point of every level, levels joined along the points."""

    def __init__(self, classes: int, trunk: str, trunk_width: int, width: int, depth: int) -> None:
        super().__init__()
        self.features = _own_trunk(trunk_width) if trunk == "small" else _torchvision_trunk(trunk)
        self.taps, channels = _taps(self.features)
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.class_tower = Tower(width, depth)
        self.box_tower = Tower(width, depth)
        self.class_logits = nn.Conv2d(width, classes, 3, padding=1)
        self.distances = nn.Conv2d(width, 4, 3, padding=1)
        self.centerness = nn.Conv2d(width, 1, 3, padding=1)
        for layer in (*self.class_tower, *self.box_tower, self.class_logits, self.distances, self.centerness):
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
        nn.init.constant_(self.class_logits.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]
        nn.init.constant_(self.distances.bias, 2.0)  # type: ignore[arg-type]  # above 0, else ReLU passes no gradient
        nn.init.zeros_(self.centerness.bias)  # type: ignore[arg-type]

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return class logits (N, P, C), distances (N, P, 4) in strides, and centreness logits (N, P, 1)."""
        # channels_last: about twice as fast on CPU
        x = pixel_values.contiguous(memory_format=torch.channels_last)
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                maps.append(x)
        logits, distances, centerness = [], [], []
        for level in self._pyramid(maps):
            classes, boxes = self.class_tower(level), self.box_tower(level)
            logits.append(_points(self.class_logits(classes)))
            distances.append(_points(torch.relu(self.distances(boxes))))
            centerness.append(_points(self.centerness(boxes)))
        return torch.cat(logits, 1), torch.cat(distances, 1), torch.cat(centerness, 1)

    def _pyramid(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        joined = [lateral(one) for lateral, one in zip(self.lateral, maps, strict=True)]
        for index in range(len(joined) - 2, -1, -1):
            joined[index] = joined[index] + functional.interpolate(joined[index + 1], scale_factor=2.0, mode="nearest")
        return [smooth(one) for smooth, one in zip(self.smooth, joined, strict=True)]


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions the task adds (kind, classes).

    Raises:
        RecipeError: An unknown trunk, or a width that is no multiple of `GROUPS`.
    """
    if options["width"] % GROUPS:
        raise RecipeError(
            f"model.options.width: must be a multiple of {GROUPS} (got {options['width']}).", pointer="model.options"
        )
    network = Detector(**{key: value for key, value in options.items() if key != "kind"})
    return network.to(memory_format=torch.channels_last)


def _points(grid: torch.Tensor) -> torch.Tensor:
    """(N, K, H, W) -> (N, H * W, K), row by row."""
    return grid.flatten(2).transpose(1, 2)


def _own_trunk(width: int) -> nn.Sequential:
    return nn.Sequential(
        stem(width, 4),
        Block(width, 2 * width, 2),
        Block(2 * width, 4 * width, 2),
        Block(4 * width, 8 * width, 2),
    )


def _torchvision_trunk(name: str) -> nn.Sequential:
    from torchvision import models
    from torchvision.ops.misc import Conv2dNormActivation

    known = models.list_models(module=models)
    features = getattr(models.get_model(name, weights=None), "features", None) if name in known else None
    if not isinstance(features, nn.Sequential):
        raise RecipeError(
            f"model.options.trunk: there is no trunk {name!r}. Allowed: 'small', or a torchvision classifier made of "
            "features, such as 'mobilenet_v2', 'mobilenet_v3_large' or 'efficientnet_b0'.",
            pointer="model.options.trunk",
        )
    return features[:-1] if isinstance(features[-1], Conv2dNormActivation) else features


def _taps(features: nn.Sequential) -> tuple[tuple[int, ...], list[int]]:
    """Return, per stride, the last layer whose output has that stride, and its channels."""
    side = 2 * STRIDES[-1]
    last: dict[int, tuple[int, int]] = {}
    training = features.training
    with torch.no_grad():
        x = torch.zeros(1, 3, side, side)
        features.eval()
        for index, layer in enumerate(features):
            x = layer(x)
            last[side // x.shape[-1]] = (index, x.shape[1])
    features.train(training)
    if missing := [stride for stride in STRIDES if stride not in last]:
        raise RecipeError(f"model.options.trunk: it has no map at stride {missing[0]}.", pointer="model.options.trunk")
    return tuple(last[stride][0] for stride in STRIDES), [last[stride][1] for stride in STRIDES]
