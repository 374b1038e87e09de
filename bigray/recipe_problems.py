"""What is wrong with a recipe, in the words of the one who wrote it instead of those of pydantic."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from bigray.errors import RecipeError


def explain(error: ValidationError, model: type[BaseModel]) -> RecipeError:
    """Turn pydantic's report into one error: a line per field, with its dotted path, the demand and the value got."""
    problems: dict[str, list[Any]] = {}
    for item in error.errors(include_url=False, include_context=True):
        keys = [str(part) for part in item["loc"] if not _is_branch(part)]
        problems.setdefault(".".join(keys), []).append(item)
    errors = [
        {"pointer": field, "detail": _sentence(items, field.split("."), model)} for field, items in problems.items()
    ]
    lines = [f"{problem['pointer'] or 'recipe'}: {problem['detail']}" for problem in errors]
    return RecipeError("\n".join(lines), pointer=errors[0]["pointer"], errors=errors)


def _is_branch(part: int | str) -> bool:
    # pydantic names the branch of a union in the location ("str", "list[str]", "constrained-float"): no user's word
    return isinstance(part, str) and (part in {"str", "int", "float", "constrained-float"} or "[" in part)


def _sentence(items: Sequence[Any], keys: list[str], model: type[BaseModel]) -> str:
    """Say what is wrong with one field; a field of several allowed types has one item for each."""
    kinds = {item["type"] for item in items}
    if "extra_forbidden" in kinds:
        known = _fields_at(keys[:-1], model)
        near = difflib.get_close_matches(keys[-1], known, n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        return f"unknown key; {guess}Known here: {', '.join(known)}."
    if "missing" in kinds:
        return "is required."
    value = items[0]["input"]
    shown = json.dumps(value, default=str, ensure_ascii=False)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    wanted = list(dict.fromkeys(_demand(item) for item in items))
    if wanted[0].startswith("must be "):
        wanted[1:] = [demand.removeprefix("must be ") for demand in wanted[1:]]
    if kinds == {"value_error"}:
        return f"{wanted[0]}."  # our own words name the value themselves
    hint = " Put it in quotes." if kinds == {"string_type"} and not isinstance(value, list | dict | None) else ""
    return f"{', or '.join(wanted)} (got {shown}).{hint}"


def _demand(item: Any) -> str:
    """Turn pydantic's message for one type into the words of a recipe's writer."""
    name, context = item["type"], item.get("ctx", {})
    if name in _DEMANDS:
        return _DEMANDS[name].format(**context)
    message: str = item["msg"].removeprefix("Value error, ").rstrip(".")
    return message if message.startswith("There is") else message[0].lower() + message[1:]


_DEMANDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_pattern_mismatch": "must be 1 to 64 lower-case letters, digits, dots, dashes or underscores, "
    "and start with a letter or digit",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "literal_error": "must be one of {expected}",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} entry",
}


def _fields_at(keys: Iterable[str], section: type[BaseModel]) -> list[str]:
    for key in keys:
        field = section.model_fields.get(key)
        if field is None:
            continue  # a place in a list
        found = [kind for kind in _types_in(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        section = found[0] if found else section
    return sorted(section.model_fields)


def _types_in(annotation: Any) -> list[Any]:
    return [annotation, *(kind for part in getattr(annotation, "__args__", ()) for kind in _types_in(part))]
