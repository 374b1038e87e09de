"""What a source of a recipe stands for: which reader reads which files or folders.

A source is a file, a folder, a glob, ``hub:owner/name`` or ``catalogue:name``. With ``format: auto`` the reader is
chosen by the file ending, or by what a folder holds and what the task needs.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path

from bigray import plugins
from bigray.data.readers import voc
from bigray.data.readers.base import AUDIO_SUFFIXES, files_in
from bigray.errors import DataError

PACKAGE = "bigray.data.readers"
TABLES = {
    "csv": (".csv", ".csv.gz"),
    "tsv": (".tsv", ".tsv.gz"),
    "jsonl": (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz"),
    "parquet": (".parquet",),
}
"""Format -> endings of its files."""
_ENDINGS = ", ".join(ending for endings in TABLES.values() for ending in endings)


def locate(source: str, format: str, fields: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (format, file or folder) pairs in a fixed order; for hub and catalogue the name after the colon.

    Args:
        source: One source of a recipe.
        format: ``data.format``.
        fields: The fields of the task; they tell what a folder is likely to be.

    Raises:
        DataError: There is nothing there, or nothing of a known format.
        UnknownPlugin: No such format.
    """
    for prefix in ("hub", "catalogue"):
        if source.startswith(f"{prefix}:"):
            return [(prefix, source.partition(":")[2])]
    if format in ("hub", "catalogue"):
        raise DataError(f"data.format is {format!r}, so a source is {format}:NAME; got {source!r}.")
    if format != "auto":
        plugins.check(PACKAGE, format)
    found: list[tuple[str, str]] = []
    for path in _paths(source):
        if path.is_dir():
            found += _folder(path, format, fields)
        else:
            found.append((_of_file(path, fields) if format == "auto" else format, str(path)))
    return found


def _paths(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if path.exists():
        return [path]
    if glob.has_magic(source):
        if found := sorted(glob.glob(str(path), recursive=True)):
            return [Path(name) for name in found]
        raise DataError(f"No file fits {source!r}.")
    near = path.parent if path.parent.is_dir() else None
    holds = sorted(entry for entry in os.listdir(near) if not entry.startswith("."))[:10] if near else []
    there = f" The folder {str(near)!r} holds: {', '.join(holds)}." if holds else ""
    raise DataError(f"There is no file or folder {source!r}.{there} Paths are relative to the recipe's folder.")


def _of_file(path: Path, fields: Mapping[str, str]) -> str:
    name = path.name.lower()
    for format, endings in TABLES.items():
        if name.endswith(endings):
            return format
    if "boxes" in fields and name.endswith((".json", ".json.gz")):
        return "coco"
    if "answers" in fields and name.endswith((".json", ".json.gz")):
        return "squad"
    if "boxes" in fields and name.endswith(".txt"):
        return "voc"
    raise DataError(
        f"{str(path)!r}: no format is known by this ending. Known: {_ENDINGS}; set data.format to say what it is."
    )


def _folder(path: Path, format: str, fields: Mapping[str, str]) -> list[tuple[str, str]]:
    if format in TABLES:
        files = files_in(path, TABLES[format])
        if not files:
            raise DataError(f"The folder {str(path)!r} holds no {format} file ({', '.join(TABLES[format])}).")
        return [(format, file) for file in files]
    if format in ("audio_table", "coco"):
        endings = (".json", ".json.gz") if format == "coco" else (*TABLES["csv"], *TABLES["tsv"])
        files = files_in(path, endings)
        if len(files) != 1:
            raise DataError(
                f"The folder {str(path)!r} holds {len(files)} files that could be the table ({', '.join(endings)}); "
                "name the one to read."
            )
        return [(format, files[0])]
    if format != "auto":
        return [(format, str(path))]
    return _guess(path, fields)


def _guess(path: Path, fields: Mapping[str, str]) -> list[tuple[str, str]]:
    if "boxes" in fields:
        if any(files_in(path / name, (".xml",)) for name in voc.XML_FOLDERS if (path / name).is_dir()):
            return [("voc", str(path))]
        return _folder(path, "coco", fields)
    tables = {kind: files for kind, endings in TABLES.items() if (files := files_in(path, endings))}
    if len(tables) == 1:
        ((kind, files),) = tables.items()
        return [(kind, file) for file in files]
    if tables:
        raise DataError(f"The folder {str(path)!r} holds {' and '.join(sorted(tables))} files. Set data.format.")
    if "image" in fields:
        return [("image_folder", str(path))]
    if "audio" in fields and files_in(path, AUDIO_SUFFIXES, recursive=True):
        return [("audio_folder", str(path))]
    raise DataError(f"The folder {str(path)!r} holds no file of a known format ({_ENDINGS}).")
