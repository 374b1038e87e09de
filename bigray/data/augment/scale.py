"""Zoom an image in or out about its middle; boxes move along."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator

from bigray.data.augment._geometry import about_centre, warp
from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options, Range, within


class ScaleOptions(Options):
    """How much."""

    factor: Annotated[Range, AfterValidator(within(0.1, 10))] = (0.8, 1.25)
    """Lowest and highest zoom, 0.1 to 10; above 1 things grow and the edge is lost, below 1 a grey edge appears."""


class Scale(Augmentation):
    """Keeps the size of the image."""

    field = "image"
    Options: ClassVar[type[Options]] = ScaleOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Draw a factor, evenly in proportion, and zoom."""
        low, high = np.log(options.factor)
        factor = np.exp(rng.uniform(low, high))
        height, width = row["image"].shape[:2]
        warp(row, about_centre(np.eye(2) * factor, width, height))


AUGMENTATION = Scale()
