"""Settings of a reader or an augmentation: closed, checked, and explained when wrong."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from bigray.errors import RecipeError


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"is [low, high] with low <= high, got {list(value)}")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""Lowest and highest value of a uniform draw."""


def within(low: float, high: float) -> Callable[[tuple[float, float]], tuple[float, float]]:
    """Return a check that both ends of a `Range` lie between two limits."""

    def check(value: tuple[float, float]) -> tuple[float, float]:
        if value[0] < low or value[1] > high:
            raise ValueError(f"lies outside {low:g} to {high:g}")
        return value

    return check


class Options(BaseModel):
    """Base of all settings in ``data.options`` and ``data.augment[].options``."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def parse(cls, raw: Mapping[str, Any], pointer: str) -> Self:
        """Check raw settings; ``pointer`` is their place in the recipe.

        Raises:
            RecipeError: An unknown setting (with the nearest known one), or a value out of its limits.
        """
        try:
            return cls.model_validate(dict(raw))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            keys = [str(part) for part in first["loc"]]
            where = ".".join([pointer, *keys])
            raise RecipeError(f"{where}: {_sentence(first, keys, sorted(cls.model_fields))}", pointer=where) from None


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return "did you mean 'x'? " for the nearest known name, or nothing when none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def _sentence(item: Any, keys: list[str], known: list[str]) -> str:
    if item["type"] == "extra_forbidden":
        return f"unknown setting; {did_you_mean(keys[-1], known)}Known here: {', '.join(known) or 'none'}."
    shown = json.dumps(item["input"], default=str, ensure_ascii=False)[:80]
    return f"{item['msg'].removeprefix('Value error, ').rstrip('.')} (got {shown})."
