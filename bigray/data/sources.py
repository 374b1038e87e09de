"""From the data section of a recipe to three Ray datasets: train, validation, test.

Readers yield rows; here they become one Arrow table per source, in which media is the path of a file, so a table of a
million images is small. The table is split on the driver, exactly. Media files are opened by Ray Data tasks, a block
of rows at a time, when the rows are consumed: no process ever holds them all. On a cluster of several nodes every node
must see the files under the same path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, cast

from bigray import errors, plugins
from bigray.data import augment, formats, split
from bigray.data.readers.base import Reader, Request, Role, Row
from bigray.errors import DataError
from bigray.recipe import Data

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data

    from bigray.tasks.base import Task

ROLES: tuple[Role, ...] = ("train", "validation", "test")
TEXT_BLOCK_ROWS, MEDIA_BLOCK_ROWS = 8192, 512
"""Rows of one Ray Data block at most: large enough to hide the cost of a task (about 10 ms), small enough for several
workers to share a small data set."""
BLOCK_BYTES = 32 * 2**20
"""Media in one block, about: a data task holds one block in memory, twice while it copies."""
PROBES = 64
"""Files whose size is looked at to guess the others'."""
SAMPLE_ROWS = 100_000
PATHS = "_path"
"""Name of the column that holds where a row's media lies; it never leaves this file."""


@dataclass(frozen=True)
class Splits:
    """Rows ready for use. Every split stands in a random order that the recipe's seed decides."""

    train: ray.data.Dataset
    validation: ray.data.Dataset
    test: ray.data.Dataset
    counts: dict[str, int]
    """Rows of each split."""
    sample: list[Row] = field(default_factory=list, repr=False)
    """Up to `SAMPLE_ROWS` training rows without their media, for `Task.prepare`."""


def check(data: Data, task: type[Task]) -> None:
    """Find mistakes before a cluster is touched: sources exist, first rows fit, augmentations are known and fit.

    Raises:
        DataError: A source is missing, empty or does not fit the task.
        RecipeError: An unknown or wrong setting of a reader or an augmentation.
        UnknownPlugin: No such format, catalogue entry or augmentation.
        MissingPackage: A package this source needs is not installed.
    """
    augment.check(data.augment, task.name)
    for role in ROLES:
        for reader, request in _requests(data, task, role):
            reader.check(request)


def load(data: Data, task: type[Task], seed: int) -> Splits:
    """Read all sources, split them and return lazy datasets. Needs a connected Ray.

    The same data, recipe and seed give the same splits in the same order, and a row is in exactly one of them.

    Raises:
        DataError: As `check`, but for every row; or groups that would cross splits.
    """
    tables = {role: _read(data, task, role) for role in ROLES}
    parts = _split(tables, data, seed)
    for role, table in parts.items():
        if table.num_rows == 0:
            raise DataError(f"There are no {role} rows. Check data.{role}.")
    media = _media(task)
    datasets = {role: _dataset(table, media) for role, table in parts.items()}
    train = parts["train"]
    plain = [name for name in train.column_names if name not in (media, PATHS)]
    counts: dict[str, int] = {role: table.num_rows for role, table in parts.items()}
    return Splits(**datasets, counts=counts, sample=train.slice(0, SAMPLE_ROWS).select(plain).to_pylist())


def take(dataset: ray.data.Dataset, count: int, seed: int = 0) -> list[Row]:
    """Return up to ``count`` rows of a split as plain objects, media as bytes, on this process.

    Splits stand in random order, so their first rows are a fair choice and nothing more needs to be read; ``seed``
    decides in which order they come.

    Raises:
        DataError: A media file vanished or cannot be read.
    """
    try:
        batches = dataset.limit(count).iter_batches(batch_size=256, batch_format="pyarrow", prefetch_batches=0)
        rows = list(islice((row for batch in batches for row in batch.to_pylist()), count))
    except Exception as error:
        raise original(error) from None
    return [rows[number] for number in split.order(len(rows), seed)]


def _requests(data: Data, task: type[Task], role: Role) -> Iterator[tuple[Reader, Request]]:
    value = getattr(data, role)
    if isinstance(value, float):
        return
    for source in [value] if isinstance(value, str) else value:
        for format, path in formats.locate(source, data.format, task.fields):
            reader: Reader = plugins.load(formats.PACKAGE, format).READER
            # options describe the user's files; a catalogue entry joined to them has none
            options = reader.Options.parse({} if format == "catalogue" else data.options, "data.options")
            yield reader, Request(path, role, data, task.fields, _media(task), options)


def _media(task: type[Task]) -> str | None:
    return next((name for name in task.fields if name in ("image", "audio")), None)


def _read(data: Data, task: type[Task], role: Role) -> pa.Table | None:
    """Return the rows of a role's own sources as one table; None when the role is a fraction of train."""
    import pyarrow as pa

    requests = list(_requests(data, task, role))
    if not requests:
        return None
    schema = _schema(requests[0][1])
    chunks = []
    for reader, request in requests:
        rows = iter(reader.read(request))
        empty = True
        while block := list(islice(rows, 4096)):
            empty = False
            chunks.append(pa.Table.from_pylist([_stored(row, request.media) for row in block], schema=schema))
        if empty:
            raise DataError(f"{request.source!r} holds no rows.")
    return pa.concat_tables(chunks)


def _schema(request: Request) -> pa.Schema:
    import pyarrow as pa

    types = {
        "boxes": pa.list_(pa.list_(pa.float64())),
        "labels": pa.list_(pa.large_string()),
        "answers": pa.list_(pa.struct({"text": pa.large_string(), "start": pa.int64()})),
    }
    columns = {name: types.get(name, pa.large_string()) for name in request.wanted}
    if request.media:
        columns |= {request.media: pa.large_binary(), PATHS: pa.large_string()}
    return pa.schema(list(columns.items()))


def _stored(row: Row, media: str | None) -> Row:
    if media and isinstance(row[media], str):
        return {**row, PATHS: row[media], media: None}
    return row


def _split(tables: Mapping[Role, pa.Table | None], data: Data, seed: int) -> dict[Role, pa.Table]:
    train = cast("pa.Table", tables["train"])
    parts: dict[Role, pa.Table] = {
        role: table.take(split.order(table.num_rows, seed)) for role, table in tables.items() if table is not None
    }
    held = [role for role in ROLES if tables[role] is None]
    if held:
        fractions = [float(getattr(data, role)) for role in held]
        if data.group_by:
            groups = train.column(data.group_by).to_pylist()
            indices = split.hold_out_groups(groups, fractions, seed, data.group_by)
        else:
            indices = split.hold_out(train.num_rows, fractions, seed)
        for role, rows in zip([*held, "train"], indices, strict=True):
            parts[role] = train.take(rows)
    if data.group_by:
        _check_groups(parts, data.group_by)
    if data.limit is not None:
        parts["train"] = parts["train"].slice(0, data.limit)
    return {role: parts[role] for role in ROLES}


def _check_groups(parts: Mapping[Role, pa.Table], name: str) -> None:
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        values = [parts[cast("Role", role)].column(name).to_pylist() for role in (first, second)]
        if shared := split.shared_groups(*values):
            raise DataError(
                f"group_by: {name} {shared[0]!r} and {len(shared) - 1} other(s) are in both {first} and {second}. "
                "Separate the sources, or leave group_by out."
            )


def _dataset(table: pa.Table, media: str | None) -> ray.data.Dataset:
    import ray.data

    rows = _block_rows(table, media)
    blocks = [table.slice(start, rows).combine_chunks() for start in range(0, table.num_rows, rows)]
    dataset = ray.data.from_arrow(blocks)
    if media is None:
        return dataset
    return dataset.map_batches(
        _open_media, fn_args=(media,), batch_size=None, batch_format="pyarrow", zero_copy_batch=True
    )


def _block_rows(table: pa.Table, media: str | None) -> int:
    if media is None:
        return TEXT_BLOCK_ROWS
    head = table.slice(0, PROBES)  # rows stand in random order, so the first are a fair choice
    sizes = [len(data) for data in head.column(media).to_pylist() if data is not None]
    sizes += [os.path.getsize(path) for path in head.column(PATHS).to_pylist() if path is not None]
    return max(1, min(MEDIA_BLOCK_ROWS, BLOCK_BYTES * len(sizes) // max(1, sum(sizes))))


def _open_media(table: pa.Table, media: str) -> pa.Table:
    """Read the media files of a block; runs in Ray Data workers."""
    import pyarrow as pa

    inline, paths = table.column(media).to_pylist(), table.column(PATHS).to_pylist()
    whole = [_bytes(path) if path is not None else data for data, path in zip(inline, paths, strict=True)]
    opened = table.drop_columns([PATHS])
    return opened.set_column(opened.column_names.index(media), media, pa.array(whole, pa.large_binary()))


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise DataError(
            f"The media file {path!r} cannot be read: {error.strerror}. Every node of the cluster must see it."
        ) from None


def original(error: BaseException) -> BaseException:
    """Return the bigray error that a Ray task died of, or the error itself when it was none.

    Ray hands on the text of what a data task raised and loses the object, so the class is found by its name.
    """
    match = re.search(r"^\s*bigray\.errors\.(\w+): (.+)$", str(error), re.MULTILINE)
    kind = getattr(errors, match[1], None) if match else None
    if match and isinstance(kind, type) and issubclass(kind, errors.BigrayError):
        return kind(match[2])
    return error
