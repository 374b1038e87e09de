"""Make an image lighter or darker, and its contrast stronger or weaker."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options


class BrightnessOptions(Options):
    """How much."""

    brightness: float = Field(0.2, ge=0, le=1)
    """Largest change of brightness, either way, as a part: 0.2 is 80 to 120 %."""
    contrast: float = Field(0.2, ge=0, le=1)
    """Largest change of the distance to the image's mean, either way, as a part."""


class Brightness(Augmentation):
    """Works on all three colours alike."""

    field = "image"
    Options: ClassVar[type[Options]] = BrightnessOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Draw both changes; one look-up per pixel, as there are only 256 values."""
        image = row["image"]
        light = 1 + rng.uniform(-options.brightness, options.brightness)
        contrast = 1 + rng.uniform(-options.contrast, options.contrast)
        mean = float(image.mean()) * light
        table = (np.arange(256) * light - mean) * contrast + mean
        row["image"] = np.rint(table).clip(0, 255).astype(np.uint8)[image]


AUGMENTATION = Brightness()
