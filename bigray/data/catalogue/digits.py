"""Real handwritten digits, 1,797 grey images of 8 x 8 pixels, as PNG: rows ``image``, ``label`` ("0" to "9").

They come with scikit-learn. Origin: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (test set of
43 writers), UCI, CC BY 4.0. https://archive.ics.uci.edu/dataset/80.
"""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np

from bigray.data.catalogue.base import Entry, Row

LEVELS = 16
"""Darkest value of a pixel in the source."""


class Digits(Entry):
    """Read from the installed package."""

    fields: ClassVar[tuple[str, ...]] = ("image", "label")
    needs: ClassVar[dict[str, str]] = {"sklearn": "scikit-learn"}

    def rows(self) -> list[Row]:
        """Return 1,797 rows."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.rint(digits.images * (255 / LEVELS)).astype(np.uint8)
        return [
            {"image": _png(image), "label": str(int(label))} for image, label in zip(pixels, digits.target, strict=True)
        ]


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


ENTRY = Digits()
