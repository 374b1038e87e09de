"""Detectors of transformers that answer with a fixed number of boxes, in no order: DETR and its kin.

    x      = pixels (N, 3, H, W)
    logits, boxes = network(x)            (N, Q, C) and (N, Q, 4): centre, width and height as shares of the frame's sides
    scores = softmax(logits) without the last class, "no object"; of the kinds in SIGMOID sigmoid(logits)

Trained as the papers do, by an assignment of queries to objects that costs least (Carion et al. 2020, arXiv 2005.12872;
with a focal loss Zhu et al. 2020, arXiv 2010.04159), through the losses of transformers. The helps that some of them have
in training are left out: losses of earlier layers, and noisy boxes as further queries (RT-DETR, arXiv 2304.08069). On
several workers YOLOS needs ``train.freeze: [vit.encoder.interpolation]``: it has a weight there that it does not use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from bigray.errors import RecipeError
from bigray.recipe import Model

SOFTMAX = ("detr", "table-transformer", "yolos")
SIGMOID = ("conditional_detr", "d_fine", "deformable_detr", "lw_detr", "rf_detr", "rt_detr", "rt_detr_v2")
COSTS = {"class_cost": 1.0, "bbox_cost": 5.0, "giou_cost": 2.0}
"""Of matching a query with an object; also the weights of the loss. Those of all the papers."""
PARTS = {"class_cost": "loss_ce", "bbox_cost": "loss_bbox", "giou_cost": "loss_giou"}
NO_OBJECT = 0.1
"""Weight of the many queries that match nothing (DETR)."""
FOCAL_ALPHA = 0.25
SIDES = (800, 1333)
"""Pixels of the shorter side, and of the longer one at most, where a checkpoint does not say (DETR)."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def forward(network: nn.Module, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return ``scores`` (N, Q, C) and ``corners`` (N, Q, 4) as shares; in training also what `loss` looks at."""
    output = network(pixel_values=pixel_values)
    logits, boxes = output.logits, output.pred_boxes
    config: Any = network.config
    scores = logits.softmax(-1)[..., :-1] if config.model_type in SOFTMAX else logits.sigmoid()
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    found = {"scores": scores, "corners": torch.cat([center - half, center + half], -1)}
    if network.training:
        found |= {"logits": logits, "boxes": boxes}
        # those that draw their queries from the picture (RT-DETR) must learn to do so
        if (early := getattr(output, "enc_topk_logits", None)) is not None:
            found |= {"early_logits": early, "early_boxes": output.enc_topk_bboxes}
    return found


def describe(model: Model) -> dict[str, Any]:
    """Return ``labels`` of a checkpoint, and ``frame`` (None where it is not fixed), ``side``, ``mean`` and ``std``.

    Raises:
        RecipeError: Another kind of checkpoint, or none named.
        ModelNotFound: The checkpoint cannot be had.
    """
    from bigray.models import pretrained

    pretrained.require_name(model)
    config = pretrained.configuration(model.name)
    kind = config.get("model_type")
    if kind not in (*SOFTMAX, *SIGMOID):
        raise RecipeError(
            f"model.name: {model.name!r} is a checkpoint of kind {kind!r}. object_detection takes "
            f"{', '.join((*SOFTMAX, *SIGMOID))}.",
            pointer="model.name",
        )
    reader = pretrained.companion(model.name, "preprocessor_config.json")
    size = reader.get("size") or {}
    size = size if isinstance(size, dict) else {"shortest_edge": size}  # as older files have it
    frame = (size["height"], size["width"]) if {"height", "width"} <= set(size) else None
    longest, shortest = int(size.get("longest_edge", SIDES[1])), int(size.get("shortest_edge", SIDES[0]))
    plain = not reader.get("do_normalize", not kind.startswith("rt_detr"))  # RT-DETR sees colours from 0 to 1
    names = config["id2label"]
    return {
        "labels": tuple(names[key] for key in sorted(names, key=int)),
        "frame": frame,
        "side": min(longest, shortest * 4 // 3),  # of a picture of 4 : 3, the shorter side being what counts
        "mean": (0.0, 0.0, 0.0) if plain else tuple(reader.get("image_mean", IMAGENET_MEAN)),
        "std": (1.0, 1.0, 1.0) if plain else tuple(reader.get("image_std", IMAGENET_STD)),
    }


def loss(
    outputs: Mapping[str, torch.Tensor], corners: torch.Tensor, target: torch.Tensor, classes: int
) -> torch.Tensor:
    """Return the loss of the assignment of queries to objects that costs least, per object.

    Args:
        outputs: Of `forward` in training: ``logits`` (N, Q, C), or (N, Q, C + 1) with "no object" last, and ``boxes``
            (N, Q, 4), centre, width and height as shares; and the same of the ``early_`` ones.
        corners: Of the objects, (N, M, 4) as shares.
        target: (N, M) int64; -1 is padding.
        classes: C.
    """
    from transformers.loss import loss_deformable_detr as focal
    from transformers.loss import loss_for_object_detection as plain

    wanted = []
    for corner, label in zip(corners, target, strict=True):
        there = label >= 0
        near, far = corner[there, :2], corner[there, 2:]
        wanted.append({"class_labels": label[there], "boxes": torch.cat([(near + far) / 2, far - near], -1)})
    criterion: nn.Module
    if outputs["logits"].shape[-1] == classes + 1:
        criterion = plain.ImageLoss(plain.HungarianMatcher(**COSTS), classes, NO_OBJECT, ["labels", "boxes"])
    else:
        matcher = focal.DeformableDetrHungarianMatcher(**COSTS)
        criterion = focal.DeformableDetrImageLoss(matcher, classes, FOCAL_ALPHA, ["labels", "boxes"])
    total = torch.zeros((), device=corners.device)
    for stage in ("", "early_"):
        if f"{stage}logits" in outputs:
            said = {"logits": outputs[f"{stage}logits"], "pred_boxes": outputs[f"{stage}boxes"]}
            found = criterion.to(corners.device)(said, wanted)
            total = total + sum(COSTS[cost] * found[name] for cost, name in PARTS.items())
    return total
