"""bigray: train, compress under an accuracy guarantee, and serve NLP, vision and speech models on Ray.

The names below load on first use: importing bigray imports neither torch nor ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigray.artifact import Artifact
    from bigray.client import AsyncClient, Client, Gallery
    from bigray.errors import BigrayError, MissingPackage, NothingQualified, ServiceError, UserError
    from bigray.pipeline import check, run
    from bigray.predictor import Predictor, open_artifact
    from bigray.recipe import Recipe
    from bigray.recipe import parse as parse_recipe
    from bigray.recipe import read as read_recipe
    from bigray.results import Results

__version__ = "0.1.0"

_HOMES = {
    "Artifact": ("bigray.artifact", "Artifact"),
    "AsyncClient": ("bigray.client", "AsyncClient"),
    "BigrayError": ("bigray.errors", "BigrayError"),
    "Client": ("bigray.client", "Client"),
    "Gallery": ("bigray.client", "Gallery"),
    "MissingPackage": ("bigray.errors", "MissingPackage"),
    "NothingQualified": ("bigray.errors", "NothingQualified"),
    "Predictor": ("bigray.predictor", "Predictor"),
    "Recipe": ("bigray.recipe", "Recipe"),
    "Results": ("bigray.results", "Results"),
    "ServiceError": ("bigray.errors", "ServiceError"),
    "UserError": ("bigray.errors", "UserError"),
    "check": ("bigray.pipeline", "check"),
    "open_artifact": ("bigray.predictor", "open_artifact"),
    "parse_recipe": ("bigray.recipe", "parse"),
    "read_recipe": ("bigray.recipe", "read"),
    "run": ("bigray.pipeline", "run"),
}

__all__ = [  # noqa: RUF022 - in the order of a run
    "read_recipe",
    "parse_recipe",
    "Recipe",
    "check",
    "run",
    "Results",
    "Artifact",
    "open_artifact",
    "Predictor",
    "Client",
    "AsyncClient",
    "Gallery",
    "BigrayError",
    "UserError",
    "MissingPackage",
    "NothingQualified",
    "ServiceError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bigray' has no attribute {name!r}; public names: {', '.join(__all__)}")
    module, attribute = _HOMES[name]
    try:
        value = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        from bigray.errors import MissingPackage

        raise MissingPackage(
            f"bigray.{name} needs the package {error.name}, and bigray was installed as a client only. "
            "Run: pip install 'bigray[all]'"
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
