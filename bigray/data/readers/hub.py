"""Datasets of the Hugging Face hub, ``hub:owner/name``, through the optional package ``datasets``.

Class numbers become their names. Images and recordings are moved into files of the cache, undecoded. Code of a dataset
is never run (``trust_remote_code`` is not passed). Source: https://huggingface.co/docs/datasets/loading.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from bigray.data.options import Options
from bigray.data.readers._columns import by_name, finish
from bigray.data.readers.base import Reader, Request, Row
from bigray.errors import DataError, MissingPackage


class HubOptions(Options):
    """Which part of a dataset."""

    subset: str | None = None
    """Configuration of the dataset, e.g. ``sst2`` of ``nyu-mll/glue``."""
    splits: Mapping[str, str] = Field(default_factory=dict)
    """Role (train, validation, test) -> split of the dataset; by default the split of the same name."""
    revision: str | None = None
    """Commit, tag or branch."""


class Hub(Reader):
    """Reads a split that the package has stored on disk."""

    Options: ClassVar[type[Options]] = HubOptions

    def check(self, request: Request) -> None:
        """Look at the name and for the package only; nothing is fetched."""
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", request.source):
            raise DataError(f"A hub dataset is hub:owner/name, got {'hub:' + request.source!r}.")
        if importlib.util.find_spec("datasets") is None:
            raise MissingPackage(
                f"hub:{request.source} needs the package datasets: pip install datasets. "
                "Or download the files and give their folder."
            )

    def read(self, request: Request) -> Iterator[Row]:
        """Yield rows in the dataset's order."""
        self.check(request)
        table = _load(request)
        columns = by_name(request, table.column_names)
        classes = {field: names for field, column in columns.items() if (names := _class_names(table.features[column]))}
        for number, record in enumerate(table, start=1):
            raw = {field: record[column] for field, column in columns.items()}
            for field, names in classes.items():
                raw[field] = _named(raw[field], names)
            yield finish(request, raw, Path("."), f"hub:{request.source}, row {number}")


def _load(request: Request) -> Any:
    import datasets

    options: HubOptions = request.options
    split = options.splits.get(request.role, request.role)
    try:
        table = datasets.load_dataset(request.source, options.subset, split=split, revision=options.revision)
        for column, feature in table.features.items():
            if isinstance(feature, datasets.Image | datasets.Audio):
                table = table.cast_column(column, type(feature)(decode=False))
    except Exception as error:  # the package raises a dozen unrelated classes, none of them documented as final
        raise DataError(
            f"hub:{request.source} (subset {options.subset!r}, split {split!r}) could not be loaded: "
            f"{type(error).__name__}: {_reason(error)}. "
            "Without a network, use local files instead."
        ) from None
    return table


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0].rstrip(".")


def _class_names(feature: Any) -> list[str] | None:
    inner = getattr(feature, "feature", feature)  # a list of classes
    names = getattr(inner, "names", None)
    return list(names) if names else None


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None  # -1: no label given


READER = Hub()
