"""Exchange neighbouring words of a text. Source: EDA, Wei and Zou (arXiv 1901.11196), kept local."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options


class SwapWordsOptions(Options):
    """How many."""

    fraction: float = Field(0.1, gt=0, le=1)
    """Exchanges per word of the text; at least one is made."""


class SwapWords(Augmentation):
    """Words are what white space separates; a text of one word stays as it is."""

    field = "text"
    Options: ClassVar[type[Options]] = SwapWordsOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Draw places and exchange."""
        words = row["text"].split()
        if len(words) < 2:
            return
        for place in rng.integers(len(words) - 1, size=max(1, round(options.fraction * len(words)))):
            words[place], words[place + 1] = words[place + 1], words[place]
        row["text"] = " ".join(words)


AUGMENTATION = SwapWords()
