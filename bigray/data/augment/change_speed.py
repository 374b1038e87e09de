"""Play a recording faster or slower, which changes its pitch as well.

Source: Ko et al., Audio Augmentation for Speech Recognition (Interspeech 2015): factors 0.9, 1.0 and 1.1.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator

from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options, Range, within


class ChangeSpeedOptions(Options):
    """How much."""

    factor: Annotated[Range, AfterValidator(within(0.5, 2))] = (0.9, 1.1)
    """Lowest and highest speed, 0.5 to 2; above 1 the recording gets shorter and higher."""


class ChangeSpeed(Augmentation):
    """Resamples, and keeps the rate as it is written."""

    field = "audio"
    Options: ClassVar[type[Options]] = ChangeSpeedOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Draw a speed and resample."""
        import soxr

        samples, rate = row["audio"]
        factor = rng.uniform(*options.factor)
        changed = soxr.resample(samples, rate * factor, rate, quality="LQ")
        if len(changed):
            row["audio"] = (np.ascontiguousarray(changed, dtype=np.float32), rate)


AUGMENTATION = ChangeSpeed()
