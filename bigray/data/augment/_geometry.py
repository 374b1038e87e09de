"""Moving an image and its boxes by one affine map.

Points are pixels, x to the right and y down, from the image's top left corner; the middle of the first pixel is
(0.5, 0.5). A map is a 2 x 3 matrix from the old image to the new one, which has the same size.
"""

from __future__ import annotations

import numpy as np

from bigray.data.augment.base import Row

FILL = (114, 114, 114)
"""Grey for places that the old image does not cover."""
MIN_VISIBLE = 0.3
"""A box of which less than this part stays in the image is dropped: too little is left to recognise it by."""


def warp(row: Row, matrix: np.ndarray) -> None:
    """Move the image of a row and, where it has boxes, those with it."""
    from PIL import Image

    image: np.ndarray = row["image"]
    height, width = image.shape[:2]
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]  # Pillow asks where a new pixel comes from
    moved = Image.fromarray(image).transform(
        (width, height), Image.Transform.AFFINE, inverse.ravel().tolist(), Image.Resampling.BILINEAR, fillcolor=FILL
    )
    row["image"] = np.asarray(moved)
    if "boxes" in row:
        move_boxes(row, matrix, width, height)


def move_boxes(row: Row, matrix: np.ndarray, width: int, height: int) -> None:
    """Move boxes by a map, cut them at the image's edge, and drop those that left it, with their labels."""
    boxes, labels = [], []
    for box, label in zip(row["boxes"], row["labels"], strict=True):
        xmin, ymin, xmax, ymax = box
        corners = np.array([[xmin, ymin, 1], [xmax, ymin, 1], [xmax, ymax, 1], [xmin, ymax, 1]]) @ matrix.T
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        area = (right - left) * (bottom - top)
        left, right = np.clip([left, right], 0, width)
        top, bottom = np.clip([top, bottom], 0, height)
        visible = (right - left) * (bottom - top)
        if visible > 0 and visible >= MIN_VISIBLE * area:
            boxes.append([float(left), float(top), float(right), float(bottom)])
            labels.append(label)
    row["boxes"], row["labels"] = boxes, labels


def about_centre(linear: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the map that applies a 2 x 2 matrix about the middle of an image."""
    centre = np.array([width / 2, height / 2])
    return np.column_stack([linear, centre - linear @ centre])
