"""Drawn faces of 60 made-up people, twelve pictures each, 48 x 48 pixels, as PNG: rows ``image``, ``identity``.

Made here from a seed: a person has a shape of head, skin, hair, eyes, brows, nose and mouth; a picture adds a place, a
size, an expression, light and noise. For trying face recognition in seconds; it says nothing about photographs, and shows
nobody.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bigray.data.catalogue.base import Entry, Row

PEOPLE, PICTURES = 60, 12
SIDE = 48
"""Pixels."""
DETAIL = 4
"""Pictures are drawn this many times larger and scaled down, so that small differences are to be seen."""
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Person:
    """What stays the same in all pictures of a person; lengths are parts of the side."""

    width: float
    height: float
    skin: Colour
    hair: Colour
    fringe: float
    eyes: float
    eye_size: float
    eye_height: float
    brow: float
    nose: float
    mouth: float
    mouth_height: float


class Faces(Entry):
    """Drawn on each call, about 0.5 s."""

    fields: ClassVar[tuple[str, ...]] = ("image", "identity")

    def rows(self) -> list[Row]:
        """Return 720 rows."""
        rows = []
        for number in range(PEOPLE):
            person = _person(np.random.default_rng([11, number]))
            for picture in range(PICTURES):
                rng = np.random.default_rng([12, number, picture])
                rows.append({"image": _picture(person, rng), "identity": f"person-{number:02d}"})
        return rows


def _person(rng: np.random.Generator) -> Person:
    light = rng.uniform(0.35, 1.0)
    return Person(
        width=rng.uniform(0.24, 0.34),
        height=rng.uniform(0.34, 0.42),
        skin=_colour(np.array([235, 195, 165]) * light + rng.normal(0, 8, 3)),
        hair=_colour(rng.choice([[35, 25, 20], [110, 70, 40], [200, 165, 90], [150, 60, 30], [130, 130, 130]])),
        fringe=rng.uniform(0.05, 0.2),
        eyes=rng.uniform(0.10, 0.16),
        eye_size=rng.uniform(0.025, 0.05),
        eye_height=rng.uniform(-0.12, -0.03),
        brow=rng.uniform(0.008, 0.03),
        nose=rng.uniform(0.06, 0.15),
        mouth=rng.uniform(0.06, 0.15),
        mouth_height=rng.uniform(0.15, 0.24),
    )


def _picture(person: Person, rng: np.random.Generator) -> bytes:
    from PIL import Image, ImageDraw

    size = SIDE * DETAIL
    image = Image.new("RGB", (size, size), _colour(rng.uniform(40, 220, 3)))
    draw = ImageDraw.Draw(image)
    middle = np.array([0.5, 0.52]) + rng.normal(0, 0.02, 2)
    scale = rng.uniform(0.92, 1.08)
    smile, turn = rng.uniform(-0.03, 0.05), rng.normal(0, 0.015)

    def at(x: float, y: float) -> tuple[float, float]:
        place = (middle + scale * np.array([x, y])) * size
        return float(place[0]), float(place[1])

    def ellipse(x: float, y: float, wide: float, high: float, colour: Colour) -> None:
        draw.ellipse((*at(x - wide, y - high), *at(x + wide, y + high)), fill=colour)

    dark = _colour(np.array(person.skin) * 0.7)
    ellipse(0, -0.03, person.width + 0.04, person.height + 0.03, person.hair)
    ellipse(0, 0.03, person.width, person.height, person.skin)
    draw.chord(
        (*at(-person.width, -person.height), *at(person.width, -person.height + 2 * person.fringe)),
        180,
        360,
        person.hair,
    )
    thick = max(1, round(person.brow * size))
    for side in (-1, 1):
        x = side * person.eyes + turn
        ellipse(x, person.eye_height, person.eye_size, person.eye_size * 0.6, (245, 245, 245))
        ellipse(x + turn, person.eye_height, person.eye_size * 0.5, person.eye_size * 0.5, (30, 30, 40))
        brow = person.eye_height - person.eye_size - 0.02
        draw.line((*at(x - person.eye_size, brow), *at(x + person.eye_size, brow)), fill=person.hair, width=thick)
    draw.line((*at(turn, person.eye_height + 0.02), *at(2 * turn, person.eye_height + 0.02 + person.nose)), dark, 5)
    box = (
        *at(-person.mouth + turn, person.mouth_height - 0.02),
        *at(person.mouth + turn, person.mouth_height + 0.04 + smile),
    )
    draw.arc(box, 10, 170, (150, 50, 60), 6)
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)
    light = rng.uniform(0.75, 1.2) + np.linspace(-1, 1, SIDE)[None, :, None] * rng.normal(0, 0.1)
    pixels = np.clip(small * light + rng.normal(0, 6, small.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _colour(values: np.ndarray | list[int]) -> Colour:
    red, green, blue = (int(value) for value in np.clip(values, 0, 255))
    return red, green, blue


ENTRY = Faces()
