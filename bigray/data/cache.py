"""Files that can be made again: fetched archives, generated speech, media taken out of parquet files.

They lie in ``$BIGRAY_CACHE``, by default ``~/.cache/bigray``. On a cluster of several nodes that folder must be shared
between them, as must every other folder that a recipe reads.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bigray.errors import DataError


def folder(*parts: str) -> Path:
    """Return a folder of the cache; it is made when missing.

    Raises:
        DataError: It cannot be made.
    """
    root = Path(os.environ.get("BIGRAY_CACHE") or Path("~/.cache/bigray").expanduser())
    path = root.joinpath(*parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"The cache folder {str(path)!r} cannot be made: {error.strerror}. "
            "Set BIGRAY_CACHE to a folder that can be written."
        ) from None
    return path


def write(path: Path, data: bytes) -> None:
    """Write a file so that a reader (or a crash) sees all of it or nothing."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    scratch.write_bytes(data)
    os.replace(scratch, path)


def keep(media: bytes) -> str:
    """Store the bytes of one image or recording under their own digest; return the path of the file."""
    digest = hashlib.sha256(media).hexdigest()
    path = folder("media", digest[:2]) / digest
    if not path.exists():
        write(path, media)
    return str(path)


def made(name: str, make: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return rows that are made once and then read back; ``name`` holds a version, raised when they would be others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder("generated") / f"{name}.parquet"
    if path.is_file():
        kept: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return kept
    rows, buffer = make(), io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    write(path, buffer.getvalue())
    return rows
