"""Make a recording sound like another speaker at another microphone: formants and colour of its spectrogram move.

Vocal tract length perturbation (Jaitly and Hinton, ICML 2013 workshop) stretches the frequency axis, as a shorter or
longer throat does; a smooth random curve over frequency stands for microphone and room. The spectrogram is made by the
task, so this only notes in the row, under ``change_voice``, what was drawn; the task's ``encode`` does it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options, Range, within

CURVE_TERMS = 4
"""Half waves of cosine over the frequency axis that make up the curve: 1, 2, 3 and 4."""


class ChangeVoiceOptions(Options):
    """How much."""

    stretch: Annotated[Range, AfterValidator(within(0.5, 2))] = (0.85, 1.18)
    """Lowest and highest factor on the frequencies of the voice, 0.5 to 2."""
    colour_db: float = Field(6.0, ge=0, le=30)
    """Standard deviation of each term of the curve, in dB; 0 leaves the colour alone."""


class ChangeVoice(Augmentation):
    """Leaves the recording itself alone."""

    field = "audio"
    Options: ClassVar[type[Options]] = ChangeVoiceOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Draw a factor, evenly in its logarithm, and a curve."""
        factor = float(np.exp(rng.uniform(*np.log(options.stretch))))
        row["change_voice"] = {
            "stretch": factor,
            "colour_db": (options.colour_db * rng.standard_normal(CURVE_TERMS)).tolist(),
        }


AUGMENTATION = ChangeVoice()
