"""YAML as a recipe needs it: a key given twice is an error, 1e-3 is a number, and no tag can make an object."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Any

import yaml

from bigray.errors import RecipeError


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML where a key given twice is an error and 1e-3 is a number (YAML 1.1 reads it as text)."""


def _no_duplicates(loader: yaml.SafeLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool):
            raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _no_duplicates)
_FLOAT = r"^[-+]?([0-9][0-9_]*\.?[0-9_]*([eE][-+]?[0-9]+)|[0-9][0-9_]*\.[0-9_]*|\.[0-9_]+([eE][-+]?[0-9]+)?)$"
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_FLOAT), list("-+0123456789."))


def load(text: str) -> dict[str, Any]:
    """Read a mapping.

    Raises:
        RecipeError: Not YAML (with line and column), a key given twice, or something else than a mapping at the top.
    """
    try:
        raw = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # Characters that YAML forbids have a reason and no problem
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "malformed text"
        raise RecipeError(f"The recipe is not valid YAML{where}: {reason}.") from None
    except ValueError as error:  # a date such as 2024-99-99
        raise RecipeError(
            f"The recipe holds a value that YAML takes for a date or number: {error}. Quote it."
        ) from None
    if not isinstance(raw, dict):
        raise RecipeError(f"A recipe is a mapping with at least name, task and data; got {kind(raw)}.")
    return raw


def assign(raw: dict[str, Any], override: str) -> None:
    """Carry out one ``a.b=value`` in place; the value is YAML.

    Raises:
        RecipeError: No ``=``, an empty key, a value that is not YAML, or a path that leads through a plain value.
    """
    path, equals, text = override.partition("=")
    path = path.strip()
    keys = path.split(".")
    if not equals or not all(keys):
        raise RecipeError(f"--set takes key.path=value, for example train.epochs=3; got {override!r}.")
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError):
        raise RecipeError(f"--set {path}: the value {text!r} is not valid YAML; quote it.", pointer=path) from None
    node: Any = raw
    for depth, key in enumerate(keys[:-1]):
        if node.get(key) is None:
            node[key] = {}
        node = node[key]
        if not isinstance(node, dict):
            where = ".".join(keys[: depth + 1])
            raise RecipeError(
                f"--set {path}: {where} is {kind(node)}, it has no fields of its own. Set {where} as a whole.",
                pointer=path,
            )
    node[keys[-1]] = value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``over`` upon ``base``: mappings are merged key by key, anything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def kind(value: Any) -> str:
    """Say in words what a YAML value is."""
    words = {type(None): "nothing", list: "a list", str: "text", dict: "a mapping", bool: "true or false"}
    return words.get(type(value), "a number")
