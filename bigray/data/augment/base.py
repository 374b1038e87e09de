"""The contract of an augmentation: a random change of one training row.

An image is an (H, W, 3) uint8 array by the time it is changed, a recording a (samples, rate) pair of mono float32 in
-1..1 and Hz; text stays text. Each file of this folder sets ``AUGMENTATION`` to an instance.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from bigray.data.options import Options

if TYPE_CHECKING:
    from PIL import Image

Row = dict[str, Any]
Sound = tuple[np.ndarray, int]


class Augmentation(ABC):
    """One random change."""

    field: ClassVar[Literal["text", "image", "audio"]]
    """The field of a row that it changes."""
    Options: ClassVar[type[Options]] = Options

    @abstractmethod
    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Change a row in place. Arrays in it are replaced, never written to: they may be shared."""


def decode(value: Any, field: str) -> Any:
    """Return media in the form augmentations work on; what is decoded already, and text, is returned as it is."""
    if not isinstance(value, bytes | bytearray | memoryview):
        return value
    if field == "image":
        return _decode_image(bytes(value))
    if field == "audio":
        return _decode_audio(bytes(value))
    return value


def _decode_image(data: bytes) -> np.ndarray:
    # as the tasks decode what is served (a test compares the two); data stands below tasks and cannot ask them
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as image:
        image.load()
        turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I"):  # 16-bit grey
        grey = np.rint(np.asarray(turned).astype(np.float32) / 257.0).clip(0, 255).astype(np.uint8)
        turned = Image.fromarray(grey)
    elif turned.mode != "RGB" and (turned.has_transparency_data or "transparency" in turned.info):
        white: Image.Image = Image.new("RGBA", turned.size, (255, 255, 255, 255))
        turned = Image.alpha_composite(white, turned.convert("RGBA"))
    return np.asarray(turned.convert("RGB"))


def _decode_audio(data: bytes) -> Sound:
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return samples.mean(axis=1, dtype=np.float32), int(rate)
