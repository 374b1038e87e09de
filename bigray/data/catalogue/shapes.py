"""Drawn circles, squares and triangles, 320 pictures of 96 x 96 pixels, as PNG: rows ``image``, ``boxes``, ``labels``.

Made here from a seed: one to three shapes of random colour and size on a coloured, noisy ground; a shape may touch
another's box, and never hides more than a sliver of it. For trying a detector in seconds; it says nothing about photographs.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bigray.data.catalogue.base import Entry, Row

if TYPE_CHECKING:
    from PIL import ImageDraw

COUNT = 320
SIDE = 96
"""Pixels."""
LABELS = ("circle", "square", "triangle")
SMALLEST, LARGEST = 20, 40
"""Side of a shape's box in pixels."""
MAX_SHAPES = 3
MIN_CONTRAST = 90
"""Least distance between a shape's colour and the ground's, in the largest of the three channels (0 to 255)."""
ATTEMPTS = 20
"""Places tried for a shape before the picture goes without it."""


class Shapes(Entry):
    """Drawn on each call, about 0.3 s."""

    fields: ClassVar[tuple[str, ...]] = ("image", "boxes", "labels")

    def rows(self) -> list[Row]:
        """Return 320 rows."""
        return [_picture(np.random.default_rng([7, number])) for number in range(COUNT)]


def _picture(rng: np.random.Generator) -> Row:
    from PIL import Image, ImageDraw

    ground = rng.integers(0, 256, 3)
    pixels = np.clip(ground + rng.normal(0, 12, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    boxes: list[list[float]] = []
    labels: list[str] = []
    for _ in range(int(rng.integers(1, MAX_SHAPES + 1))):
        box = _free_place(rng, boxes)
        if box is None:
            break
        label = LABELS[int(rng.integers(len(LABELS)))]
        _shape(draw, label, box, _colour(rng, ground))
        boxes.append(box)
        labels.append(label)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"image": buffer.getvalue(), "boxes": boxes, "labels": labels}


def _free_place(rng: np.random.Generator, taken: list[list[float]]) -> list[float] | None:
    for _ in range(ATTEMPTS):
        side = int(rng.integers(SMALLEST, LARGEST + 1))
        x, y = (int(value) for value in rng.integers(0, SIDE - side + 1, 2))
        box = [float(x), float(y), float(x + side), float(y + side)]
        if all(_overlap(box, other) < 0.02 for other in taken):
            return box
    return None


def _overlap(one: list[float], other: list[float]) -> float:
    """Return the shared area over that of the smaller box."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(0.0, width) * max(0.0, height) / smaller


def _colour(rng: np.random.Generator, ground: np.ndarray) -> tuple[int, int, int]:
    while True:
        colour = rng.integers(0, 256, 3)
        if np.abs(colour - ground).max() >= MIN_CONTRAST:
            red, green, blue = (int(channel) for channel in colour)
            return red, green, blue


def _shape(draw: ImageDraw.ImageDraw, label: str, box: list[float], colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = box[0], box[1], box[2] - 1, box[3] - 1  # PIL draws the last pixel too
    if label == "circle":
        draw.ellipse((left, top, right, bottom), fill=colour)
    elif label == "square":
        draw.rectangle((left, top, right, bottom), fill=colour)
    else:
        draw.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], fill=colour)


ENTRY = Shapes()
