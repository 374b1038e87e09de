"""People enrolled for speaker or face recognition: name -> embeddings, kept by the caller and not by the service.

::

    gallery = Gallery()
    gallery.enrol("ann", client.speaker_recognition(["ann-1.wav", "ann-2.wav"]))
    client.speaker_recognition("claim.wav", reference=gallery["ann"], false_accept_rate=0.01).verified
    client.speaker_recognition("who.wav", gallery=gallery).matches
    del gallery["ann"]

An embedding is personal data: whoever holds the gallery can recognise the people in it, and removing a name removes
all that is known of that person. It fits the model that made it, and candidates of one search taught by the same dense
model; enrol anew for another model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from bigray.errors import InvalidInput
from bigray.schemas import Finite, Recognition

_PEOPLE = TypeAdapter(dict[str, list[list[Finite]]])


class Gallery(dict[str, list[list[float]]]):
    """A dict that can be sent as ``gallery`` as it is."""

    def enrol(self, name: str, answers: Recognition | Iterable[Recognition]) -> None:
        """Add a person's embeddings to those already there under the name.

        Raises:
            InvalidInput: There are none.
        """
        several = [answers] if isinstance(answers, Recognition) else list(answers)
        if not name or not several:
            raise InvalidInput("Enrolling needs a name and at least one answer of a model.", code="empty_inputs")
        self.setdefault(name, []).extend(answer.embedding for answer in several)

    def save(self, path: str | Path) -> None:
        """Write a JSON file that only its owner may read; a reader sees all of it or nothing."""
        scratch = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.tmp")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(self, file)
        os.replace(scratch, path)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InvalidInput: ``unreadable_file``: there is no such file, or it holds no gallery.
        """
        try:
            return cls(_PEOPLE.validate_json(Path(path).read_bytes()))
        except OSError as error:
            what = error.strerror or str(error)
        except ValidationError:
            what = "it holds no gallery, which is an object of names and lists of embeddings"
        raise InvalidInput(f"Cannot read the gallery {str(path)!r}: {what}.", code="unreadable_file")
