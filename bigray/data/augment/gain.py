"""Make a recording louder or quieter."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator

from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options, Range, within


class GainOptions(Options):
    """How much."""

    gain_db: Annotated[Range, AfterValidator(within(-60, 40))] = (-12.0, 6.0)
    """Lowest and highest change of level in dB, -60 to 40; 6 is twice the amplitude. Peaks over full scale are cut."""


class Gain(Augmentation):
    """One factor for the whole recording."""

    field = "audio"
    Options: ClassVar[type[Options]] = GainOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Draw a level and multiply."""
        samples, rate = row["audio"]
        factor = np.float32(10 ** (rng.uniform(*options.gain_db) / 20))
        row["audio"] = (np.clip(samples * factor, -1, 1), rate)


AUGMENTATION = Gain()
