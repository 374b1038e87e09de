"""An image much larger than a detector's: a pyramid of tiles that overlap, and whole objects out of them.

The finest tiles are as large as the images of training, so that objects have the size they were learned in. On each further
level tiles are twice as large, up to the whole image. Neighbours share `SHARED` of a side; an object cut off by the edge of a
tile is left out there, since an object up to that share is whole in a tile beside it, and a larger one on a coarser level.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bigray.tasks._vision import header_size

FROM = 2.0
"""An image is tiled when it is more than this many times as high or wide as those of training."""
SHARED = 1 / 3
MAX_TILES = 1024
"""Of one level; tiles are larger when there would be more, so that a small file cannot take for ever."""
EDGE = 2.0
"""Pixels of the frame within which a box touches the edge of its tile."""
SAME, PART = 0.5, 0.8
"""Boxes of one label are one object when they share this much of their union, or of the smaller one."""


class Place(NamedTuple):
    """Where a tile lies in its image, in pixels."""

    x: int
    y: int
    width: int
    height: int
    of_width: int
    of_height: int

    def lift(self, corners: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes (K, 4) of the tile in pixels of the image, and which of them (K,) its edges do not cut.

        Args:
            corners: In pixels of the tile.
            pixel: Side of a pixel of the frame, in those of the tile.
        """
        near = EDGE * pixel
        left, top = corners[:, 0] <= near, corners[:, 1] <= near
        right, bottom = corners[:, 2] >= self.width - near, corners[:, 3] >= self.height - near
        cut = (
            (left & (self.x > 0))
            | (top & (self.y > 0))
            | (right & (self.x + self.width < self.of_width))
            | (bottom & (self.y + self.height < self.of_height))
        )
        return corners + np.array([self.x, self.y] * 2, dtype=corners.dtype), ~cut


def tiles(height: int, width: int, usual: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield x, y, width and height of the tiles of an image, fine to coarse, the whole one last."""
    scale = max(height / usual[0], width / usual[1])
    size = usual
    while scale > FROM:
        places = [(y, x) for y in _starts(height, size[0]) for x in _starts(width, size[1])]
        if len(places) <= MAX_TILES:
            yield from ((x, y, min(size[1], width), min(size[0], height)) for y, x in places)
        size, scale = (2 * size[0], 2 * size[1]), scale / 2
    yield 0, 0, width, height


def usual(rows: Sequence[Mapping[str, object]]) -> tuple[int, int] | None:
    """Return the median height and width of the images of rows, None when there are none."""
    sizes = [size for row in rows[:256] if (size := header_size(row.get("image")))]
    if not sizes:
        return None
    return round(statistics.median(size[0] for size in sizes)), round(statistics.median(size[1] for size in sizes))


def _starts(length: int, size: int) -> list[int]:
    """Return where tiles begin, evenly, the last one ending with the image."""
    if length <= size:
        return [0]
    count = 1 + int(np.ceil((length - size) / (size * (1 - SHARED))))
    return [int(start) for start in np.linspace(0, length - size, count).round()]
