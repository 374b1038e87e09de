"""A folder is a registry: the file name is the key.

``names("bigray.engines")`` lists the files of a package, ``load("bigray.engines", "openvino")`` imports one of them.
Files whose name starts with an underscore, and ``base``, are no plugins. Importing happens late, so a heavy library is
paid for only by those who name it. The names are stored in recipes and artifacts: a renamed file breaks old ones.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from types import ModuleType

from bigray.errors import UnknownPlugin


def names(package: str) -> tuple[str, ...]:
    """Return the sorted plugin names of a package, without importing any of them."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise UnknownPlugin(f"{package!r} is not a package of plugins.")
    found = (module.name for module in pkgutil.iter_modules(spec.submodule_search_locations))
    return tuple(sorted(name for name in found if not name.startswith("_") and name not in _NOT_PLUGINS))


_NOT_PLUGINS = {"base", "pretrained"}


def check(package: str, name: str) -> str:
    """Return the name when the package has it; otherwise raise `UnknownPlugin` with the known names."""
    known = names(package)
    if name in known:
        return name
    kind = package.rsplit(".", 1)[-1].rstrip("s")
    near = difflib.get_close_matches(name, known, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownPlugin(f"There is no {kind} named {name!r}.{guess} Known: {', '.join(known)}.")


def load(package: str, name: str) -> ModuleType:
    """Import one plugin of a package by name; `UnknownPlugin` when there is none of that name."""
    return importlib.import_module(f"{package}.{check(package, name)}")
