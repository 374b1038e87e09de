"""Two text files whose lines belong together, as translations are often handed out: ``train.en`` and ``train.de``.

The source is the first file; the second has the same name with another part: ``options: {source: en, target: de}`` goes
from ``train.en.gz`` to ``train.de.gz``. The lines fill the task's two fields in order (text and translation).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import ClassVar

from bigray.data.options import Options
from bigray.data.readers.base import Reader, Request, Row, open_text
from bigray.errors import DataError


class ParallelTextOptions(Options):
    """Which files belong together."""

    source: str | None = None
    """Part of the first file's name, between dots, that names its language, e.g. ``en``."""
    target: str | None = None
    """What stands in its place in the second file's name, e.g. ``de``."""
    encoding: str = "utf-8-sig"
    """Text encoding; the default reads UTF-8 with or without a byte order mark."""


class ParallelText(Reader):
    """Reads both files side by side."""

    Options: ClassVar[type[Options]] = ParallelTextOptions

    def read(self, request: Request) -> Iterator[Row]:
        """Yield one row per line; pairs of two blank lines are skipped."""
        first, options = Path(request.source), request.options
        second = _other(first, options)
        names = tuple(request.fields)[:2]
        with open_text(first, options.encoding) as mine, open_text(second, options.encoding) as other:
            for number, pair in enumerate(zip_longest(mine, other), start=1):
                where = f"{first}, line {number}"
                if None in pair:
                    longer = first if pair[1] is None else second
                    raise DataError(
                        f"{where}: only {str(longer)!r} has so many lines. Both files need the same number."
                    )
                if any(line.strip() for line in pair):
                    yield request.row(dict(zip(names, (line.strip() for line in pair), strict=True)), where)


def _other(first: Path, options: ParallelTextOptions) -> Path:
    if not options.source or not options.target:
        raise DataError(
            "format parallel_text needs to know which files belong together: options: {source: en, target: de} goes "
            "from train.en to train.de.",
            pointer="data.options",
        )
    parts = first.name.split(".")
    if options.source not in parts:
        raise DataError(
            f"{str(first)!r}: no part of the name between dots is {options.source!r} (options.source).",
            pointer="data.options.source",
        )
    return first.with_name(".".join(options.target if part == options.source else part for part in parts))


READER = ParallelText()
