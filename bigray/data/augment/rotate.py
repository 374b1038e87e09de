"""Turn an image about its middle by a random angle; boxes become the upright boxes around the turned ones."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bigray.data.augment._geometry import about_centre, warp
from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options


class RotateOptions(Options):
    """How far."""

    degrees: float = Field(10.0, gt=0, le=180)
    """Largest angle, either way. Boxes grow loose beyond about 15 degrees."""


class Rotate(Augmentation):
    """Keeps the size; corners that come into view are grey."""

    field = "image"
    Options: ClassVar[type[Options]] = RotateOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Draw an angle and turn."""
        angle = np.deg2rad(rng.uniform(-options.degrees, options.degrees))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        height, width = row["image"].shape[:2]
        warp(row, about_centre(turn, width, height))


AUGMENTATION = Rotate()
