"""Parquet tables, read in batches of rows and only the columns that are needed.

Images and recordings may be file names, or bytes in the table (also in the ``{bytes, path}`` form of Hugging Face).
Bytes are moved into files of the cache first, so that rows stay small and media is read batch by batch like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from bigray.data.options import Options
from bigray.data.readers._columns import TableOptions, by_name, finish
from bigray.data.readers.base import Reader, Request, Row
from bigray.errors import DataError

BATCH_ROWS = 1024


class Parquet(Reader):
    """Reads one file."""

    Options: ClassVar[type[Options]] = TableOptions

    def read(self, request: Request) -> Iterator[Row]:
        """Yield rows in file order."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(request.source)
        base = request.options.base(path)
        try:
            with pq.ParquetFile(path) as file:
                columns = by_name(request, file.schema_arrow.names)
                number = 0
                for batch in file.iter_batches(BATCH_ROWS, columns=sorted(set(columns.values()))):
                    for record in batch.to_pylist():
                        number += 1
                        raw = {field: record[column] for field, column in columns.items()}
                        yield finish(request, raw, base, f"{path}, row {number}")
        except FileNotFoundError:
            raise DataError(f"There is no file {str(path)!r}.") from None
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{str(path)!r} cannot be read as parquet: {str(error).splitlines()[0]}") from None


READER = Parquet()
