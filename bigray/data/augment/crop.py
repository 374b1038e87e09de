"""Pad an image on all sides and cut its old size out at a random place: the customary shift for small images.

Source: He et al., Deep Residual Learning (arXiv 1512.03385), section 4.2: 4 pixels on images of 32. Boxes move along.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bigray.data.augment._geometry import FILL, move_boxes
from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options


class CropOptions(Options):
    """How far things may shift."""

    padding: float = Field(0.125, gt=0, le=0.5)
    """Widest shift as a part of width and of height; 0.125 is 4 of 32 pixels."""


class Crop(Augmentation):
    """Keeps the size of the image; what comes into view is grey."""

    field = "image"
    Options: ClassVar[type[Options]] = CropOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Draw a shift for each direction and move."""
        image = row["image"]
        height, width = image.shape[:2]
        reach_x, reach_y = max(1, round(options.padding * width)), max(1, round(options.padding * height))
        x, y = int(rng.integers(-reach_x, reach_x + 1)), int(rng.integers(-reach_y, reach_y + 1))
        moved = np.empty_like(image)
        moved[:] = FILL
        moved[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)] = image[
            max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)
        ]
        row["image"] = moved
        if "boxes" in row:
            move_boxes(row, np.array([[1, 0, x], [0, 1, y]], dtype=float), width, height)


AUGMENTATION = Crop()
