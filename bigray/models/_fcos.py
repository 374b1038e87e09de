"""What FCOS is trained towards: which point answers for which object, and the loss (arXiv 1904.01355, section 3).

The same assignment and the same loss as torchvision's FCOS, for a whole padded batch at once instead of image by image.
Sizes: N images, P points over all levels, M objects (padded), C classes.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

CENTER_RADIUS = 1.5
"""A point answers for an object only within this many strides of its centre."""


def assign(points: torch.Tensor, strides: torch.Tensor, boxes: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return the index of the object each point answers for, (N, P) int64; -1 is background.

    A point must lie inside the box and near its centre, and the box must be of the level's size: its farthest side is
    4 to 8 strides away (any less on the finest level, any more on the coarsest). Of several objects the smallest wins.

    Args:
        points: x and y in pixels, (P, 2).
        strides: Stride of each point in pixels, (P,), ascending.
        boxes: Corners in pixels, (N, M, 4).
        present: Which boxes are no padding, (N, M) bool.
    """
    if boxes.shape[1] == 0:
        return torch.full((len(boxes), len(points)), -1, dtype=torch.int64, device=boxes.device)
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    away = (points[None, :, None] - centers[:, None]).abs().amax(-1)
    match = (away < CENTER_RADIUS * strides[None, :, None]) & present[:, None]
    sides = torch.cat(
        [points[None, :, None] - boxes[:, None, :, :2], boxes[:, None, :, 2:] - points[None, :, None]], -1
    )
    match &= sides.amin(-1) > 0
    lowest = torch.where(strides == strides[0], 0.0, 4.0 * strides)
    highest = torch.where(strides == strides[-1], torch.inf, 8.0 * strides)
    farthest = sides.amax(-1)
    match &= (farthest > lowest[None, :, None]) & (farthest < highest[None, :, None])
    areas = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    smallest, index = torch.where(match, areas[:, None], torch.inf).min(-1)
    return torch.where(smallest.isfinite(), index, -1)


def loss(
    logits: torch.Tensor,
    distances: torch.Tensor,
    centerness: torch.Tensor,
    points: torch.Tensor,
    strides: torch.Tensor,
    boxes: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Focal loss of the classes, GIoU loss of the boxes, cross-entropy of the centreness; per foreground point.

    Args:
        logits: (N, P, C).
        distances: Left, top, right, bottom in strides, (N, P, 4).
        centerness: (N, P, 1) logits.
        points: (P, 2) pixels.
        strides: (P,) pixels.
        boxes: (N, M, 4) pixels.
        labels: (N, M) int64; -1 is padding.
    """
    index = assign(points, strides, boxes, labels >= 0)
    image, point = torch.nonzero(index >= 0, as_tuple=True)
    chosen = index[image, point]
    count = max(1, len(chosen))

    wanted = torch.zeros_like(logits)
    wanted[image, point, labels[image, chosen]] = 1.0
    classes = sigmoid_focal_loss(logits, wanted, reduction="sum")

    truth = boxes[image, chosen].to(distances.dtype)
    place, stride = points[point], strides[point, None]
    reach = distances[image, point] * stride
    found = torch.cat([place - reach[:, :2], place + reach[:, 2:]], 1)
    regression = generalized_box_iou_loss(found, truth, reduction="sum")

    sides = torch.stack([place - truth[:, :2], truth[:, 2:] - place], 1)  # (F, 2, 2): near and far side of x and y
    central = (sides.amin(1) / sides.amax(1)).prod(1).sqrt()
    center = functional.binary_cross_entropy_with_logits(centerness[image, point, 0], central, reduction="sum")
    total: torch.Tensor = (classes + regression + center) / count
    return total
