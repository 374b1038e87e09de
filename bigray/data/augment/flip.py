"""Mirror an image left to right; boxes move along. Not for images where sides matter (text, road signs)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from bigray.data.augment._geometry import move_boxes
from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options


class FlipOptions(Options):
    """What is mirrored."""

    direction: Literal["horizontal", "vertical"] = "horizontal"
    """``vertical`` turns the image upside down, as is fitting for microscopy and aerial views."""


class Flip(Augmentation):
    """Always the same for the same image; ``probability`` decides how often."""

    field = "image"
    Options: ClassVar[type[Options]] = FlipOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Mirror image and boxes."""
        image = row["image"]
        height, width = image.shape[:2]
        horizontal = options.direction == "horizontal"
        row["image"] = np.ascontiguousarray(image[:, ::-1] if horizontal else image[::-1])
        if "boxes" in row:
            matrix = [[-1, 0, width], [0, 1, 0]] if horizontal else [[1, 0, 0], [0, -1, height]]
            move_boxes(row, np.array(matrix, dtype=float), width, height)


AUGMENTATION = Flip()
