"""Random changes of training rows, one per file; the file name is the name in ``data.augment`` and ``compress.augment``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bigray import plugins, recipe
from bigray.data.augment.base import Augmentation, Row, decode
from bigray.errors import InvalidInput, RecipeError
from bigray.schemas import CONTRACTS

PACKAGE = "bigray.data.augment"


def check(augmentations: Sequence[recipe.Augmentation], task: str, section: str = "data") -> None:
    """Refuse augmentations that do not exist, have wrong settings, or change another kind of data than the task's.

    ``section`` of the recipe is where they stand.

    Raises:
        UnknownPlugin: No augmentation of that name; lists the known ones.
        RecipeError: A wrong setting, or the wrong kind of data.
    """
    kind = CONTRACTS[task].field
    for number, item in enumerate(augmentations):
        pointer = f"{section}.augment.{number}"
        if CONTRACTS[task].input is not None:
            raise RecipeError(
                f"{pointer}: {task} takes no augmentation: a changed text would no longer fit its answer. "
                f"Remove {section}.augment.",
                pointer=pointer,
            )
        found: Augmentation = plugins.load(PACKAGE, item.name).AUGMENTATION
        if found.field != kind:
            raise RecipeError(
                f"{pointer}: {item.name!r} changes {found.field}, but {task} reads {kind}. "
                f"For {kind} there are: {', '.join(known(kind))}.",
                pointer=pointer,
            )
        found.Options.parse(item.options, f"{pointer}.options")


def known(kind: str) -> list[str]:
    """Return the names of augmentations for ``text``, ``image`` or ``audio``."""
    return [name for name in plugins.names(PACKAGE) if plugins.load(PACKAGE, name).AUGMENTATION.field == kind]


def draw(rows: Sequence[Row], rng: np.random.Generator) -> list[Row]:
    """Return copies of training rows with ``draw``, a random number by which a task picks a window of a long row."""
    # a generator of its own: what is drawn here must not change which rows are augmented and how
    return [{**row, "draw": float(number)} for row, number in zip(rows, rng.spawn(1)[0].random(len(rows)), strict=True)]


def apply(
    rows: Sequence[Row], augmentations: Sequence[recipe.Augmentation], rng: np.random.Generator, field: str
) -> list[Row]:
    """Return changed copies of training rows; each augmentation acts on a row with its own probability, in order.

    A changed row holds decoded media: an image as (H, W, 3) uint8, a recording as (float32 samples, rate in Hz). A row
    that nothing acted on keeps its bytes. The rows given are not touched.

    Raises:
        InvalidInput: Media that cannot be decoded.
    """
    ready = [_ready(item) for item in augmentations]
    changed = []
    for row in rows:
        new = dict(row)
        chances = rng.random(len(ready))
        for (augmentation, options, probability), chance in zip(ready, chances, strict=True):
            if chance >= probability:
                continue
            try:
                new[field] = decode(new[field], field)
            except Exception as error:  # decoders raise a dozen classes
                raise InvalidInput(f"A training row's {field} cannot be decoded: {error}.") from None
            augmentation.apply(new, options, rng)
        changed.append(new)
    return changed


def _ready(item: recipe.Augmentation) -> tuple[Augmentation, Any, float]:
    found: Augmentation = plugins.load(PACKAGE, item.name).AUGMENTATION
    return found, found.Options.parse(item.options, "data.augment"), item.probability
