"""Take a random stretch of a text's words, as phrases are parts of sentences.

Source: independent cropping, Izacard et al., Unsupervised Dense Information Retrieval with Contrastive Learning (arXiv
2112.09118), section 3.1. A part need not have the truth of the whole: best in ``compress.augment``, where the dense model
says what is right.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options, Range, within


class CropWordsOptions(Options):
    """How much stays."""

    share: Annotated[Range, AfterValidator(within(0.05, 1))] = (0.1, 1.0)
    """Smallest and largest share of the words that stay."""
    words: int = Field(3, ge=1, le=1000)
    """At least so many stay; a text of no more stays whole."""


class CropWords(Augmentation):
    """Length and place are drawn evenly; words are what white space separates."""

    field = "text"
    Options: ClassVar[type[Options]] = CropWordsOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Cut the words."""
        words = row["text"].split()
        size = max(options.words, round(rng.uniform(*options.share) * len(words)))
        if size < len(words):
            start = rng.integers(len(words) - size + 1)
            row["text"] = " ".join(words[start : start + size])


AUGMENTATION = CropWords()
