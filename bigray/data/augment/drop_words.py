"""Leave out random words of a text. Source: EDA, Wei and Zou (arXiv 1901.11196)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options


class DropWordsOptions(Options):
    """How many."""

    fraction: float = Field(0.1, gt=0, lt=1)
    """Chance that a word is left out; at least one word always stays."""


class DropWords(Augmentation):
    """Words are what white space separates."""

    field = "text"
    Options: ClassVar[type[Options]] = DropWordsOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Draw for each word."""
        words = row["text"].split()
        keep = rng.random(len(words)) >= options.fraction
        if words and not keep.any():
            keep[rng.integers(len(words))] = True
        if not keep.all():
            row["text"] = " ".join(word for word, stays in zip(words, keep, strict=True) if stays)


AUGMENTATION = DropWords()
