"""Boxes in numpy: the points of a detector, its best candidates, and non-maximum suppression. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def grid(frame: tuple[int, int], strides: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return points (P, 2), x and y in pixels, and the stride of each (P,), float32; row by row, level by level.

    A point stands at the upper left corner of its cell, as in torchvision.
    """
    points, steps = [], []
    for stride in strides:
        y, x = np.mgrid[0 : frame[0] : stride, 0 : frame[1] : stride]
        points.append(np.stack([x.ravel(), y.ravel()], axis=1))
        steps.append(np.full(x.size, stride))
    return np.concatenate(points).astype(np.float32), np.concatenate(steps).astype(np.float32)


def best(scores: np.ndarray, strides: np.ndarray, threshold: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return point and class of the scores at or over the threshold, at most ``count`` of each level's best.

    Args:
        scores: (P, C).
        strides: Level of each point, (P,), ascending.
        threshold: Least score.
        count: Of each level.
    """
    points, classes = [], []
    for stride in np.unique(strides):
        first, last = np.searchsorted(strides, [stride, stride + 0.5])
        point, label = np.nonzero(scores[first:last] >= threshold)
        if len(point) > count:
            order = np.argsort(-scores[first:last][point, label], kind="stable")[:count]
            point, label = point[order], label[order]
        points.append(point + first)
        classes.append(label)
    return np.concatenate(points), np.concatenate(classes)


def suppress(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, overlap: float, contained: float | None = None
) -> np.ndarray:
    """Return the indices of the boxes that stay, best first: greedy non-maximum suppression within each label.

    Of equal scores the first comes first, so the answer is always the same.

    Args:
        boxes: Corners (K, 4).
        scores: (K,).
        labels: (K,).
        overlap: Intersection over union above which the lower score is dropped.
        contained: Intersection over the smaller area above which it is dropped, too.
    """
    order = np.argsort(-scores, kind="stable")
    corners, names = boxes[order].astype(np.float64), labels[order]
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    alive = np.ones(len(order), dtype=bool)
    for index in range(len(order)):
        if not alive[index]:
            continue
        rest = np.flatnonzero(alive[index + 1 :] & (names[index + 1 :] == names[index])) + index + 1
        low = np.maximum(corners[rest, :2], corners[index, :2])
        high = np.minimum(corners[rest, 2:], corners[index, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        alive[rest[shared > overlap * (areas[rest] + areas[index] - shared)]] = False
        if contained is not None:
            alive[rest[shared > contained * np.minimum(areas[rest], areas[index])]] = False
    return order[alive]
