"""Boxes in numpy, against torchvision."""

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from bigray.tasks._boxes import best, grid, suppress


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_that_of_torchvision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores, labels = random_boxes(rng, 200), rng.random(200).astype(np.float32), rng.integers(0, 3, 200)
    # one class after another: the batched form shifts boxes, which costs it digits
    wanted = np.concatenate(
        [
            np.flatnonzero(labels == label)[
                batched_nms(
                    torch.from_numpy(boxes[labels == label]),
                    torch.from_numpy(scores[labels == label]),
                    torch.zeros(int((labels == label).sum()), dtype=torch.int64),
                    0.5,
                ).numpy()
            ]
            for label in range(3)
        ]
    )
    kept = suppress(boxes, scores, labels, 0.5)
    assert sorted(kept) == sorted(wanted)
    assert (np.diff(scores[kept]) <= 0).all()


def test_suppression_of_nothing_and_of_equals() -> None:
    assert len(suppress(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), 0.5)) == 0
    same = np.tile(np.array([[0.0, 0.0, 10.0, 10.0]]), (3, 1))
    assert suppress(same, np.full(3, 0.5), np.array([0, 0, 1]), 0.5).tolist() == [0, 2]


def test_the_best_of_each_level() -> None:
    strides = np.array([8.0, 8.0, 8.0, 16.0])
    scores = np.array([[0.9, 0.1], [0.6, 0.7], [0.2, 0.8], [0.3, 0.05]])
    points, labels = best(scores, strides, 0.25, 2)
    assert list(zip(points.tolist(), labels.tolist(), strict=True)) == [(0, 0), (2, 1), (3, 0)]


def test_the_grid_goes_row_by_row() -> None:
    points, strides = grid((16, 24), (8, 16))
    assert points.tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8], [0, 0], [16, 0]]
    assert strides.tolist() == [8] * 6 + [16] * 2
