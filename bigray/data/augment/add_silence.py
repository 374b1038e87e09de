"""Put silence before and after a recording, so that where a word lies and how much room is around it teach nothing."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator

from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options, Range, within


class AddSilenceOptions(Options):
    """How much."""

    seconds: Annotated[Range, AfterValidator(within(0, 10))] = (0.0, 0.15)
    """Shortest and longest silence at each end, 0 to 10 s; the two ends are drawn apart."""


class AddSilence(Augmentation):
    """The silence is digital: all zeros."""

    field = "audio"
    Options: ClassVar[type[Options]] = AddSilenceOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Draw both lengths."""
        samples, rate = row["audio"]
        shortest, longest = options.seconds
        ends = rng.uniform(shortest, longest, 2) * rate
        row["audio"] = (np.pad(samples, tuple(ends.astype(np.int64))), rate)


AUGMENTATION = AddSilence()
