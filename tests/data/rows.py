"""Reading rows without Ray, for tests of readers."""

from collections.abc import Mapping
from typing import Any

from bigray import plugins
from bigray.data import formats
from bigray.data.readers.base import Request
from bigray.recipe import Data
from bigray.schemas import CONTRACTS

FIELDS: dict[str, Mapping[str, str]] = {
    "text_classification": {"text": "the text", "label": "its class"},
    "image_classification": {"image": "a picture", "label": "its class"},
    "object_detection": {"image": "a picture", "boxes": "corners", "labels": "classes"},
    "automatic_speech_recognition": {"audio": "a sound file", "text": "the words said"},
}


def read(task: str, **data: Any) -> list[dict[str, Any]]:
    """Read all rows of ``train`` as the sources module does."""
    settings = Data(**data)
    media = CONTRACTS[task].field
    rows = []
    for format, path in formats.locate(str(settings.train), settings.format, FIELDS[task]):
        reader = plugins.load(formats.PACKAGE, format).READER
        options = reader.Options.parse(settings.options, "data.options")
        request = Request(path, "train", settings, FIELDS[task], None if media == "text" else media, options)
        reader.check(request)
        rows += list(reader.read(request))
    return rows
