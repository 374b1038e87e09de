"""The contract of a reader: it turns one file or folder into rows, one at a time.

A row is a dict with the fields of the task. Where a field is media (an image, a recording), the row holds the path of
its file, or the bytes when they are in memory anyway; files are opened later, batch by batch, in Ray Data. Readers know
no Ray. Each file of this folder sets ``READER`` to an instance.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TextIO

from bigray.data.options import Options, did_you_mean
from bigray.errors import DataError
from bigray.recipe import Data

Row = dict[str, Any]
Role = Literal["train", "validation", "test"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")


@dataclass(frozen=True)
class Request:
    """What a reader is asked for."""

    source: str
    """One file or folder; for hub and catalogue the name after the colon."""
    role: Role
    """The split the rows are for."""
    data: Data
    fields: Mapping[str, str]
    """Fields a row must have -> what they are."""
    media: str | None
    """The field that holds media, if any."""
    options: Any = None
    """The reader's own `Options`, checked."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """Every field to fill: the task's, and the one that groups rows."""
        group = self.data.group_by
        return (*self.fields, group) if group and group not in self.fields else tuple(self.fields)

    @property
    def named(self) -> str:
        """The field that the name of a folder fills: the task's only one besides the media, else ``label``."""
        others = [field for field in self.fields if field != self.media]
        return others[0] if len(others) == 1 else "label"

    def row(self, raw: Mapping[str, Any], where: str) -> Row:
        """Check one row and bring it into its final form; ``where`` names its place for a person.

        Raises:
            DataError: A field is missing, empty or of the wrong kind; a label is not among ``data.labels``.
        """
        row: Row = {}
        for field in self.wanted:
            if field not in raw:
                raise DataError(f"{where}: this format has no field {field!r}; it has {', '.join(raw)}.")
            value = raw[field]
            if value is None or (isinstance(value, str) and not value.strip()):
                raise DataError(f"{where}: {field!r} is empty. Fill it in, or remove the row.")
            if field == "boxes":
                row[field] = _boxes(value, where)
            elif field == "labels":
                row[field] = [self._label(item, where) for item in _list(value, field, where)]
            elif field == "answers":
                row[field] = _answers(value, where)
            elif field == "label":
                row[field] = self._label(value, where)
            elif field == self.media:
                row[field] = value
            else:
                row[field] = _text(value, field, where)
        if "boxes" in row and "labels" in row and len(row["boxes"]) != len(row["labels"]):
            raise DataError(f"{where}: {len(row['boxes'])} boxes but {len(row['labels'])} labels; each box needs one.")
        return row

    def media_file(self, value: str, base: Path, where: str) -> str:
        """Return the absolute path of a media file named in a table that lies in ``base``.

        Raises:
            DataError: There is no such file.
        """
        path = os.path.join(base, value)
        if not os.path.isfile(path):
            raise DataError(
                f"{where}: there is no file {path!r}. Names of {self.media} files are relative to the table's own "
                "folder; set options.media_root to use another."
            )
        return path

    def _label(self, value: Any, where: str) -> str:
        label = _text(value, "label", where).strip()
        label = self.data.label_names.get(label, label)
        if not label:
            raise DataError(f"{where}: the label is empty. Fill it in, or remove the row.")
        if self.data.labels is not None and label not in self.data.labels:
            raise DataError(
                f"{where}: label {label!r} is not in data.labels; {did_you_mean(label, self.data.labels)}"
                f"Known: {', '.join(self.data.labels[:20])}. Add it there, or map it with data.label_names."
            )
        return label


class Reader(ABC):
    """One data format."""

    Options: ClassVar[type[Options]] = Options

    @abstractmethod
    def read(self, request: Request) -> Iterator[Row]:
        """Yield rows in a fixed order.

        Raises:
            DataError: Something is missing, malformed or unreadable; names the file and the line or entry.
        """

    def check(self, request: Request) -> None:
        """Look at the first row only, so that mistakes are found before any work starts."""
        first = next(iter(self.read(request)), None)
        if first is None:
            raise DataError(f"{request.source!r} holds no rows.")


def files_in(folder: Path, suffixes: Sequence[str], *, recursive: bool = False) -> list[str]:
    """Return the paths of files with one of the suffixes (any case), sorted; hidden files are left out."""
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    found += files_in(Path(entry.path), suffixes, recursive=True) if recursive else []
                elif entry.name.lower().endswith(tuple(suffixes)):
                    found.append(entry.path)
    except OSError as error:
        raise DataError(f"The folder {str(folder)!r} cannot be read: {error.strerror}.") from None
    return sorted(found)


@contextmanager
def open_text(path: Path, encoding: str = "utf-8-sig") -> Iterator[TextIO]:
    """Open a text file, gzipped or not; whatever goes wrong while it is read becomes a `DataError` naming it."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding=encoding, newline="") as file:
                yield file
        else:
            with path.open(encoding=encoding, newline="") as file:
                yield file
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"There is no file {str(path)!r}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{str(path)!r} is not {encoding.removesuffix('-sig')} text. Set options.encoding.") from None
    except LookupError:
        raise DataError(f"options.encoding: Python knows no encoding {encoding!r}.") from None
    except (OSError, EOFError, csv.Error) as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}.") from None


def _text(value: Any, field: str, where: str) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # tables of numbers often turn the class 1 into 1.0
    if isinstance(value, str | int | float):
        return str(value)
    raise DataError(f"{where}: {field!r} must be text, got a {type(value).__name__}.")


def _list(value: Any, field: str, where: str) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    raise DataError(f"{where}: {field!r} must be a list, got a {type(value).__name__}.")


def _answers(value: Any, where: str) -> list[dict[str, Any]]:
    """Return ``[{"text", "start"}]`` from a text, a list of texts or of objects, or SQuAD's columns; start -1: unknown.

    An empty list says that the context holds no answer.
    """
    if isinstance(value, dict):  # the column of hub datasets: {"text": [...], "answer_start": [...]}
        texts, starts = value.get("text"), value.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise DataError(f"{where}: 'answers' must have lists 'text' and 'answer_start' of one length.")
        value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    answers = []
    for item in [value] if isinstance(value, str) else _list(value, "answers", where):
        one = item if isinstance(item, dict) else {"text": item}
        text, start = one.get("text"), one.get("answer_start", -1)
        if not isinstance(text, str) or not text.strip() or type(start) is not int:
            raise DataError(f"{where}: an answer is a text, or {{text, answer_start}} with a number; got {item!r:.80}.")
        answers.append({"text": text, "start": start})
    return answers


def _boxes(value: Any, where: str) -> list[list[float]]:
    boxes = []
    for box in _list(value, "boxes", where):
        try:
            xmin, ymin, xmax, ymax = (float(number) for number in box)
        except (TypeError, ValueError):
            raise DataError(f"{where}: a box is [xmin, ymin, xmax, ymax] in pixels, got {box!r}.") from None
        if not all(math.isfinite(number) for number in (xmin, ymin, xmax, ymax)) or xmax <= xmin or ymax <= ymin:
            raise DataError(
                f"{where}: box [{xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}] has no area; "
                "a box is [xmin, ymin, xmax, ymax] in pixels with xmin < xmax and ymin < ymax."
            )
        boxes.append([xmin, ymin, xmax, ymax])
    return boxes
