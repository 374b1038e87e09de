"""The detector: shapes, torchvision's own assignment and loss, and trunks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision import models
from torchvision.models.detection.fcos import FCOS, FCOSHead

from bigray.errors import RecipeError
from bigray.models import _fcos, detector
from bigray.tasks._boxes import grid
from bigray.tasks.object_detection import STRIDES

SMALL = {"trunk": "small", "trunk_width": 8, "width": 16, "depth": 1}


def build(**changes: object) -> torch.nn.Module:
    return detector.build({"kind": "image", "classes": 3, **SMALL, **changes}).eval()


def test_one_row_per_point_of_the_grid() -> None:
    logits, distances, centerness = build()(torch.zeros(2, 3, 64, 96))
    points = len(grid((64, 96), STRIDES)[0])
    assert points == 8 * 12 + 4 * 6 + 2 * 3
    assert logits.shape == (2, points, 3)
    assert distances.shape == (2, points, 4)
    assert centerness.shape == (2, points, 1)
    assert (distances >= 0).all()
    assert detector.STRIDES == STRIDES


def test_every_object_starts_out_unlikely() -> None:
    logits, _, _ = build()(torch.randn(1, 3, 64, 64))
    assert torch.sigmoid(logits).mean().item() == pytest.approx(detector.PRIOR, rel=0.3)


def test_a_torchvision_trunk_takes_the_weights_of_its_classifier() -> None:
    network = build(trunk="mobilenet_v2")
    weights = models.mobilenet_v2(weights=None).state_dict()
    own = network.state_dict()
    taken = [key for key in own if key.startswith("features.")]
    assert taken
    assert all(own[key].shape == weights[key].shape for key in taken)
    assert network(torch.zeros(1, 3, 64, 64))[0].shape == (1, 84, 3)


def test_unknown_trunks_and_widths_are_refused() -> None:
    for changes in ({"trunk": "resnet18"}, {"trunk": "nonsense"}, {"width": 20}):
        with pytest.raises(RecipeError):
            build(**changes)


@pytest.mark.parametrize("seed", range(3))
def test_assignment_and_loss_are_those_of_torchvision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, strides = (torch.from_numpy(array) for array in grid((128, 160), STRIDES))
    counts = [5, 0, 9]
    boxes = torch.zeros(3, 9, 4)
    labels = torch.full((3, 9), -1)
    for row, count in enumerate(counts):
        corner = rng.uniform(0, 90, (count, 2))
        boxes[row, :count] = torch.from_numpy(np.concatenate([corner, corner + rng.uniform(8, 70, (count, 2))], axis=1))
        labels[row, :count] = torch.from_numpy(rng.integers(0, 4, count))
    logits, centerness = torch.randn(3, len(points), 4), torch.randn(3, len(points), 1)
    distances = torch.rand(3, len(points), 4) * 4

    half = strides[:, None] / 2
    anchors = [torch.cat([points - half, points + half], 1)] * 3
    targets = [{"boxes": boxes[row, :count], "labels": labels[row, :count]} for row, count in enumerate(counts)]
    outputs = {"cls_logits": logits, "bbox_regression": distances, "bbox_ctrness": centerness}
    model = SimpleNamespace(center_sampling_radius=_fcos.CENTER_RADIUS, head=FCOSHead(32, 1, 4, 1))
    levels = [int((strides == stride).sum()) for stride in STRIDES]
    wanted = sum(FCOS.compute_loss(model, targets, outputs, anchors, levels).values())
    got = _fcos.loss(logits, distances, centerness, points, strides, boxes, labels)
    assert got.item() == pytest.approx(wanted.item(), rel=1e-4)


def test_a_batch_without_any_object_has_a_loss() -> None:
    points, strides = (torch.from_numpy(array) for array in grid((64, 64), STRIDES))
    logits = torch.zeros(1, len(points), 2, requires_grad=True)
    none = torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64)
    loss = _fcos.loss(logits, torch.ones(1, len(points), 4), torch.zeros(1, len(points), 1), points, strides, *none)
    loss.backward()
    assert torch.isfinite(logits.grad).all()
