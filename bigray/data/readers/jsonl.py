"""JSON lines: one object per line, ``{"text": "a fine film", "label": "positive"}``; gzipped when it ends in .gz."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from bigray.data.options import Options
from bigray.data.readers._columns import TableOptions, by_name, finish
from bigray.data.readers.base import Reader, Request, Row, open_text
from bigray.errors import DataError


class JsonLines(Reader):
    """Reads one object at a time."""

    Options: ClassVar[type[Options]] = TableOptions

    def read(self, request: Request) -> Iterator[Row]:
        """Yield rows; blank lines are skipped."""
        path = Path(request.source)
        base = request.options.base(path)
        with open_text(path) as file:
            columns: dict[str, str] | None = None
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                try:
                    record = json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{where}: not valid JSON: {error.msg} at column {error.colno}.") from None
                if not isinstance(record, dict):
                    raise DataError(f"{where}: each line is one JSON object, got a {type(record).__name__}.")
                columns = columns or by_name(request, list(record))
                yield finish(request, {field: record.get(column) for field, column in columns.items()}, base, where)


READER = JsonLines()
