"""Reading rows without Ray, for tests of readers."""

from typing import Any

from bigray import plugins
from bigray.data import formats
from bigray.data.readers.base import Request
from bigray.recipe import Data
from bigray.schemas import CONTRACTS


def read(task: str, **data: Any) -> list[dict[str, Any]]:
    """Read all rows of ``train`` as the sources module does."""
    settings = Data(**data)
    fields = plugins.load("bigray.tasks", task).TASK.fields
    media = CONTRACTS[task].field
    rows = []
    for format, path in formats.locate(str(settings.train), settings.format, fields):
        reader = plugins.load(formats.PACKAGE, format).READER
        options = reader.Options.parse(settings.options, "data.options")
        request = Request(path, "train", settings, fields, None if media == "text" else media, options)
        reader.check(request)
        rows += list(reader.read(request))
    return rows
