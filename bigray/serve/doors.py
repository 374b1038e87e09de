"""Which dialect a path speaks. Errors follow it too, so that each client can read why it was refused.

Known before any model is: the proxies need it for paths and models that do not exist.
"""

from __future__ import annotations

from functools import cache

from bigray import plugins
from bigray.serve.dialects.base import Dialect

PREFIX = "/models/"


@cache
def dialects() -> tuple[Dialect, ...]:
    """Return every dialect there is."""
    package = "bigray.serve.dialects"
    return tuple(plugins.load(package, name).DIALECT for name in plugins.names(package))


def split(path: str) -> tuple[str, str]:
    """Return a model's name and the path below it; ``""`` as name when the path is no model's."""
    if not path.startswith(PREFIX):
        return "", path
    name, slash, rest = path.removeprefix(PREFIX).partition("/")
    return name, f"{slash}{rest}".rstrip("/")


def below(path: str) -> Dialect | None:
    """Return the dialect of a path below a model's own, None where there is none."""
    return next((dialect for dialect in dialects() if dialect.matches(path)), None)


def speaking(path: str) -> Dialect | None:
    """Return the dialect in which an error on a whole path is to be written; None: a plain problem document."""
    name, rest = split(path)
    if not name:
        return below(path) if path.startswith(("/v1", "/v2")) else None
    return below(rest)
