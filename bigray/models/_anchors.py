"""One-stage detectors of torchvision as they are: FCOS, RetinaNet, SSD and SSDlite, as graphs that engines can run.

    maps     = backbone(pixels)                        pixels (N, 3, H, W), scaled and normalised by the task
    logits, offsets = head(maps)                       of P boxes that stand at fixed places, the anchors
    scores   = sigmoid(logits), of FCOS its root with sigmoid(centreness); softmax(logits) of SSD
    corners  = offsets applied to the anchors          (N, P, 4), as shares of width and height

What torchvision does around that, resizing before and choosing boxes after, depends on data and stands in the task. The
first class is background and is left out. Detectors that choose boxes in the middle (Faster, Mask and Keypoint R-CNN)
cannot be written as such a graph.

Tian et al. 2019 (arXiv 1904.01355); Lin et al. 2017 (arXiv 1708.02002); Liu et al. 2015 (arXiv 1512.02325).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from bigray.errors import ModelNotFound, RecipeError
from bigray.models.base import Architecture

NAMES = (
    "fcos_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)


class OneStage(nn.Module):
    """Pixels (N, 3, H, W) -> scores (N, P, C) and corners (N, P, 4)."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scores of all classes but the background, and where each box is."""
        from torchvision.models.detection.image_list import ImageList
        from torchvision.models.detection.ssd import SSD

        detector: Any = self.detector
        height, width = pixel_values.shape[-2:]
        maps = list(detector.backbone(pixel_values).values())
        found = detector.head(maps)
        # the places are those of one image, whatever the batch; traced, they become constants
        anchors = detector.anchor_generator(ImageList(pixel_values[:1], [(height, width)]), maps)[0]
        offsets, logits = found["bbox_regression"], found["cls_logits"]
        if "bbox_ctrness" in found:
            scores = (logits.sigmoid() * found["bbox_ctrness"].sigmoid()).sqrt()
            corners = detector.box_coder.decode(offsets, anchors.expand_as(offsets))
        else:
            scores = logits.softmax(-1) if isinstance(detector, SSD) else logits.sigmoid()
            places = anchors.expand_as(offsets).reshape(-1, 4)
            corners = detector.box_coder.decode_single(offsets.reshape(-1, 4), places).view(offsets.shape)
        sides = torch.tensor([width, height, width, height], dtype=corners.dtype, device=corners.device)
        return scores[..., 1:], corners / sides


def describe(name: str) -> dict[str, Any]:
    """Return ``labels`` of the published weights, and ``frame`` (None where it is not fixed), ``side``, ``mean``, ``std``.

    Raises:
        RecipeError: No such detector, or one that chooses boxes in its middle.
    """
    from torchvision import models

    if name not in NAMES:
        two = name in models.list_models(module=models.detection)
        reason = "chooses boxes in the middle of its network, which engines cannot run" if two else "is not known"
        raise RecipeError(
            f"model.name: torchvision's detector {name!r} {reason}. Allowed: {', '.join(NAMES)}; or leave out "
            "model.source and set model.options.trunk to a torchvision classifier.",
            pointer="model.name",
        )
    with torch.device("meta"):
        transform: Any = models.get_model(name, weights=None, weights_backbone=None).transform
    fixed = transform.fixed_size  # width and height
    return {
        "labels": tuple(models.get_model_weights(name)["DEFAULT"].meta["categories"][1:]),
        "frame": (fixed[1], fixed[0]) if fixed else None,
        "side": min(transform.max_size, transform.min_size[-1] * 4 // 3),  # of a picture of 4 : 3
        "mean": tuple(transform.image_mean),
        "std": tuple(transform.image_std),
    }


def build(architecture: Architecture, pretrained: bool) -> nn.Module:
    """Build a detector and load its weights whole: a local state dict, or published ones by name.

    Raises:
        ModelNotFound: The weights cannot be had, or are not those of this detector.
    """
    from torchvision import models

    from bigray.models import pretrained as loader

    network = models.get_model(architecture.name, weights=None, weights_backbone=None, **architecture.options)
    weights = architecture.weights
    if pretrained and weights:
        local = Path(loader.locate(weights)).is_file()
        state = loader.read_weights(weights) if local else loader.hub_weights(architecture.name, weights)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise ModelNotFound(
                f"The weights {weights!r} are not those of {architecture.name} with {architecture.options['num_classes']} "
                f"classes, background included: {str(error).splitlines()[1].strip()[:200]} Give data.labels as they were in "
                "training, in order."
            ) from None
    return OneStage(network)
