"""Recordings, in a folder or named by a glob, whose name or folder says what is spoken, or who speaks.

Without a pattern a row's text (or speaker) is the name of its folder, as in ``SOURCE/yes/0a7c2a8d_0.wav``. With
``options.pattern`` it comes from the file name: ``(?P<text>\\d)_(?P<speaker>[a-z]+)_\\d+`` reads ``7_jackson_32.wav`` (the Free Spoken
Digit Dataset) as text "7" by speaker "jackson", so that ``data.group_by: speaker`` works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from bigray.data.options import Options
from bigray.data.readers.base import AUDIO_SUFFIXES, Reader, Request, Row, files_in
from bigray.errors import DataError


def _expression(value: str) -> str:
    try:
        groups = re.compile(value).groupindex
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if not groups:
        raise ValueError("names no field; write (?P<text>...) around the part that is the text")
    return value


class AudioFolderOptions(Options):
    """How names are read."""

    pattern: Annotated[str, AfterValidator(_expression)] | None = None
    """Regular expression that fits the whole file name without ending; its named groups become fields."""
    spell: Mapping[str, str] = Field(default_factory=dict)
    """Text found in a name -> transcript to use, e.g. ``{"7": seven}``."""


class AudioFolder(Reader):
    """Walks the folder and those below it."""

    Options: ClassVar[type[Options]] = AudioFolderOptions

    def read(self, request: Request) -> Iterator[Row]:
        """Yield one row per recording, in the order of paths."""
        root, options = Path(request.source), request.options
        if not root.exists():
            raise DataError(f"There is no folder or recording {str(root)!r}.")
        pattern = re.compile(options.pattern) if options.pattern else None
        if pattern:
            _check_groups(request, pattern)
        # a glob gives recordings one by one
        for path in [str(root)] if root.is_file() else files_in(root, AUDIO_SUFFIXES, recursive=True):
            file = Path(path)
            if pattern is None:
                if file.parent == root:
                    raise DataError(
                        f"{path!r} lies in no folder that says its {request.named}. Put recordings into one folder for "
                        f"each {request.named}, give a table (format: audio_table), or set options.pattern."
                    )
                raw = {request.named: file.parent.name}
            else:
                match = pattern.fullmatch(file.stem)
                if match is None:
                    raise DataError(
                        f"{path!r}: the name {file.stem!r} does not fit options.pattern {options.pattern!r}."
                    )
                raw = match.groupdict()
            if raw.get("text") is not None:
                raw["text"] = options.spell.get(raw["text"], raw["text"])
            yield request.row({**raw, request.media or "audio": path}, path)


def _check_groups(request: Request, pattern: re.Pattern[str]) -> None:
    missing = [field for field in request.wanted if field != request.media and field not in pattern.groupindex]
    if missing:
        raise DataError(
            f"options.pattern has no group for {missing[0]!r}: write (?P<{missing[0]}>...) around that part.",
            pointer="data.options.pattern",
        )


READER = AudioFolder()
