"""Which column of a table fills which field of a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bigray.data import cache
from bigray.data.options import Options, did_you_mean
from bigray.data.readers.base import Request, Row
from bigray.errors import DataError

MEDIA_COLUMNS = ("file", "file_name", "filename", "path")
"""Column names tried for the media field when none has the field's own name."""


class TableOptions(Options):
    """Settings of every kind of table."""

    media_root: str | None = None
    """Folder that file names in the table are relative to, itself relative to the table; by default the table's own."""

    def base(self, table: Path) -> Path:
        """Return the folder that media files named in ``table`` are relative to."""
        return table.parent / Path(self.media_root).expanduser() if self.media_root else table.parent


def check_fields(request: Request) -> None:
    """Refuse ``data.columns`` entries for fields that the task does not have."""
    for field in request.data.columns:
        if field not in request.wanted:
            raise DataError(
                f"data.columns: {field!r} is no field of this task; {did_you_mean(field, request.wanted)}"
                f"Fields: {', '.join(request.wanted)}. Write field: column.",
                pointer=f"data.columns.{field}",
            )


def by_name(request: Request, names: Sequence[str]) -> dict[str, str]:
    """Return field -> column name, for a table whose columns have names.

    Raises:
        DataError: A field has no column; names the columns there are.
    """
    check_fields(request)
    found = {}
    for field in request.wanted:
        column = request.data.columns.get(field, field)
        if isinstance(column, int):
            if not 0 <= column < len(names):
                raise DataError(_no_number(request, field, column, len(names)), pointer=f"data.columns.{field}")
            column = names[column]
        elif column not in names and field == request.media and field not in request.data.columns:
            column = next((name for name in MEDIA_COLUMNS if name in names), column)
        if column not in names:
            raise DataError(
                f"{request.source!r} has no column {column!r} for the field {field!r} "
                f"({request.fields.get(field, 'group_by')}); {did_you_mean(column, list(names))}"
                f"Columns: {', '.join(map(repr, names))}. Map it with data.columns: {{{field}: COLUMN}}.",
                pointer=f"data.columns.{field}",
            )
        found[field] = column
    return found


def by_number(request: Request, width: int) -> dict[str, int]:
    """Return field -> column number, for a table without names.

    Raises:
        DataError: A field has no number, or one past the last column.
    """
    check_fields(request)
    found: dict[str, int] = {}
    for field in request.wanted:
        column = request.data.columns.get(field)
        if not isinstance(column, int):
            raise DataError(
                f"{request.source!r} has no column names, and data.columns gives no number for the field {field!r}. "
                f"Number its {width} columns from 0, e.g. columns: {{{_example(request)}}}; "
                "or set data.header: true if the first line holds names.",
                pointer=f"data.columns.{field}",
            )
        if not 0 <= column < width:
            raise DataError(_no_number(request, field, column, width), pointer=f"data.columns.{field}")
        found[field] = column
    return found


def finish(request: Request, raw: Row, base: Path, where: str) -> Row:
    """Turn the media entry of a table into a file path, then check the row."""
    media = request.media
    if media and media in raw:
        value: Any = raw[media]
        if isinstance(value, dict):  # the image and audio columns of Hugging Face parquet files
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes | bytearray) and value:
            value = cache.keep(bytes(value))
        elif isinstance(value, str) and value.strip():
            value = request.media_file(value, base, where)
        elif value:
            raise DataError(f"{where}: {media!r} must be a file name or bytes, got a {type(value).__name__}.")
        raw = {**raw, media: value or None}
    return request.row(raw, where)


def _no_number(request: Request, field: str, column: int, width: int) -> str:
    return f"data.columns: {field!r} is column {column}, but {request.source!r} has {width} (0 to {width - 1})."


def _example(request: Request) -> str:
    return ", ".join(f"{field}: {number}" for number, field in enumerate(request.wanted))
