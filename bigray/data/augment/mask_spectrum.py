"""Hide random bands and stretches of time of a recording's spectrogram. Source: SpecAugment (arXiv 1904.08779).

The spectrogram is made by the task, so this only notes in the row, under ``mask_spectrum``, what is to be hidden; the
task's ``encode`` does it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options


class MaskSpectrumOptions(Options):
    """How much is hidden."""

    bands: int = Field(2, ge=0, le=10)
    """Masks over mel bands."""
    band_width: int = Field(12, ge=1, le=128)
    """Widest of them, in bands."""
    times: int = Field(2, ge=0, le=10)
    """Masks over time."""
    time_width: float = Field(0.15, gt=0, le=0.5)
    """Widest of them, as a part of the recording."""


class MaskSpectrum(Augmentation):
    """Leaves the recording itself alone."""

    field = "audio"
    Options: ClassVar[type[Options]] = MaskSpectrumOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Note the settings with a seed, so that what is hidden is decided here."""
        row["mask_spectrum"] = {**options.model_dump(), "seed": int(rng.integers(2**32))}


AUGMENTATION = MaskSpectrum()
