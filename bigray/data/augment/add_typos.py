"""Mistype letters of a text: exchanged with the next one, doubled, left out, or hit beside (QWERTY keyboard).

Source: Belinkov and Bisk, Synthetic and Natural Noise Both Break Neural Machine Translation (arXiv 1711.02173).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options

KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
BESIDE = {
    key: row[max(0, place - 1) : place] + row[place + 1 : place + 2]
    for row in KEYBOARD
    for place, key in enumerate(row)
}


class AddTyposOptions(Options):
    """How many."""

    rate: float = Field(0.03, gt=0, le=0.5)
    """Chance that a letter is mistyped."""


class AddTypos(Augmentation):
    """Touches letters only, so words stay apart and numbers stay right."""

    field = "text"
    Options: ClassVar[type[Options]] = AddTyposOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Draw places and kinds of mistake."""
        letters = list(row["text"])
        places = [
            place for place in np.flatnonzero(rng.random(len(letters)) < options.rate) if letters[place].isalpha()
        ]
        for place in places:
            letter = letters[place]
            following = letters[place + 1] if place + 1 < len(letters) else ""
            kind = rng.integers(4)
            if kind == 0 and len(following) == 1 and following.isalpha():
                letters[place], letters[place + 1] = following, letter
            elif kind == 1:
                letters[place] = letter + letter
            elif kind == 2:
                letters[place] = ""
            elif near := BESIDE.get(letter.lower()):
                hit = near[rng.integers(len(near))]
                letters[place] = hit.upper() if letter.isupper() else hit
        text = "".join(letters)
        if text.strip():  # a text of one letter must not vanish
            row["text"] = text


AUGMENTATION = AddTypos()
