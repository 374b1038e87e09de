"""Tables in text form: one row per line, columns split by a character."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from bigray.data.options import Options
from bigray.data.readers._columns import TableOptions, by_name, by_number, finish
from bigray.data.readers.base import Reader, Request, Row, open_text
from bigray.errors import DataError

LONGEST_FIELD = 2**27
"""Characters in one field at most; Python's own limit of 131,072 is too small for documents."""


class DelimitedOptions(TableOptions):
    """Settings of csv, tsv and tables of media files."""

    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """Character between columns; by default a comma (csv) or a tab (tsv)."""
    quoted: bool | None = None
    """Whether ``"`` encloses fields; by default yes for a comma and no for a tab."""
    encoding: str = "utf-8-sig"
    """Text encoding; the default reads UTF-8 with or without a byte order mark."""


class Delimited(Reader):
    """Reads a text table, with or without a line of column names."""

    Options: ClassVar[type[Options]] = DelimitedOptions

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter

    def delimiter_of(self, path: Path) -> str:
        """Return the character between the columns of a file."""
        return self.delimiter

    def read(self, request: Request) -> Iterator[Row]:
        """Yield rows; blank lines are skipped."""
        options: DelimitedOptions = request.options
        path = Path(request.source)
        base = options.base(path)
        delimiter = options.delimiter or self.delimiter_of(path)
        quoted = options.quoted if options.quoted is not None else delimiter != "\t"
        csv.field_size_limit(LONGEST_FIELD)
        with open_text(path, options.encoding) as file:
            lines = csv.reader(
                file, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE, strict=True
            )
            try:
                columns: dict[str, int] | None = None
                width = 0
                for cells in lines:
                    if not any(cell.strip() for cell in cells):
                        continue
                    if columns is None:
                        width = len(cells)
                        named = _has_header(request, cells)
                        columns = _numbers(request, cells) if named else by_number(request, width)
                        if named:
                            continue
                    where = f"{path}, line {lines.line_num}"
                    if len(cells) != width:
                        raise DataError(
                            f"{where}: {len(cells)} column(s) where the first line has {width}. "
                            f"Columns are split by {delimiter!r}; a field that holds it must be in double quotes."
                        )
                    yield finish(request, {field: cells[column] for field, column in columns.items()}, base, where)
            except csv.Error as error:
                raise DataError(
                    f"{path}, line {lines.line_num}: {error}. Set options.quoted: false if quotes mean nothing here."
                ) from None


def _has_header(request: Request, first: Sequence[str]) -> bool:
    """Say whether the first line holds column names: told, or found out from the columns that are asked for."""
    if request.data.header is not None:
        return request.data.header
    given = request.data.columns
    if any(isinstance(column, str) for column in given.values()):
        return True
    if all(isinstance(given.get(field), int) for field in request.wanted):
        return any(cell.strip().lower() in request.wanted for cell in first)
    return True  # nothing is numbered, so names are the only way to find the columns


def _numbers(request: Request, names: Sequence[str]) -> dict[str, int]:
    clean = [name.strip() for name in names]
    return {field: clean.index(column) for field, column in by_name(request, clean).items()}
