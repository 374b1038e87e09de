"""Take a random stretch of a recording. For tasks where any stretch has the same truth, as who speaks."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator

from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options, Range, within


class ExcerptOptions(Options):
    """How much."""

    seconds: Annotated[Range, AfterValidator(within(0.2, 60))] = (1.5, 3.0)
    """Shortest and longest stretch; a recording that is shorter than what was drawn stays whole."""


class Excerpt(Augmentation):
    """Length and place are drawn evenly."""

    field = "audio"
    Options: ClassVar[type[Options]] = ExcerptOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Cut the samples."""
        samples, rate = row["audio"]
        size = round(rng.uniform(*options.seconds) * rate)
        if size < len(samples):
            start = int(rng.integers(0, len(samples) - size + 1))
            row["audio"] = (samples[start : start + size], rate)


AUGMENTATION = Excerpt()
