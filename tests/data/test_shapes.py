"""Drawn shapes: the boxes are where the shapes are, and the same on every call."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
from PIL import Image

from bigray.data.catalogue import shapes


def test_rows_are_complete_and_always_the_same() -> None:
    rows = shapes.ENTRY.rows()
    assert rows == shapes.ENTRY.rows()
    assert len(rows) == shapes.COUNT
    counts = Counter(label for row in rows for label in row["labels"])
    assert set(counts) == set(shapes.LABELS)
    assert min(counts.values()) > 150
    assert all(1 <= len(row["boxes"]) == len(row["labels"]) <= shapes.MAX_SHAPES for row in rows)


def test_a_box_holds_its_shape_to_the_pixel() -> None:
    for row in shapes.ENTRY.rows():
        if len(row["boxes"]) > 1:
            continue
        pixels = np.asarray(Image.open(io.BytesIO(row["image"]))).astype(int)
        assert pixels.shape == (shapes.SIDE, shapes.SIDE, 3)
        xmin, ymin, xmax, ymax = (int(value) for value in row["boxes"][0])
        colour = pixels[(ymin + ymax) // 2, (xmin + xmax) // 2]  # one flat colour on a noisy ground
        y, x = np.nonzero((pixels == colour).all(axis=2))
        inside = (x >= xmin - 1) & (x <= xmax) & (y >= ymin - 1) & (y <= ymax)
        assert inside.mean() > 0.99
        assert abs(x[inside].min() - xmin) <= 1
        assert abs(x[inside].max() + 1 - xmax) <= 1
        assert abs(y[inside].min() - ymin) <= 1
        assert abs(y[inside].max() + 1 - ymax) <= 1
