"""The description of a network, as data, and the one function that builds a network from it.

An `Architecture` is what an artifact stores instead of code or pickles: enough to build the network again without the
hub, the folder or the weights it first came from. This file is light; torch is imported when a network is built.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from bigray import plugins
from bigray.errors import RecipeError
from bigray.recipe import Model

if TYPE_CHECKING:
    from torch import nn


class Architecture(BaseModel):
    """A network as data."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    source: Literal["bigray", "transformers", "torchvision", "torchaudio"]
    """Library that builds it."""
    name: str
    """bigray: file name in bigray/models. transformers: auto class. torchvision, torchaudio: builder function."""
    options: dict[str, Any] = {}
    """Every dimension the builder needs; for transformers the whole configuration of the network."""
    weights: str | None = None
    """Where initial weights come from (hub name, folder, file, torchvision weight name); unused when rebuilding."""


def build(architecture: Architecture, *, pretrained: bool) -> nn.Module:
    """Build the network; with ``pretrained`` also load its initial weights, if it has any.

    Raises:
        ModelNotFound: The weights are neither a local path nor reachable by name.
        RecipeError: An option that this architecture does not have.
        UnknownPlugin: No such architecture.
    """
    if architecture.source == "bigray":
        module = plugins.load("bigray.models", architecture.name)
        network: nn.Module = module.build(architecture.options)
        if pretrained and architecture.weights:
            from bigray.models import pretrained as loader

            loader.load_weights(network, architecture.weights)
        return network
    from bigray.models import pretrained as loader

    return loader.build(architecture, pretrained=pretrained)


def own_options(given: Mapping[str, Any], known: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the known settings with the given ones over them; numbers keep the kind of their default.

    Raises:
        RecipeError: A setting that is not known, or of another kind than its default.
    """
    for key, value in given.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise RecipeError(
                f"{where}.{key}: unknown key; {guess}Known here: {', '.join(sorted(known))}.", pointer=f"{where}.{key}"
            )
        default = known[key]
        kind = float if isinstance(default, float) else type(default)
        fits = isinstance(value, int | float) and not isinstance(value, bool) if kind is float else type(value) is kind
        if default is not None and not fits:
            raise RecipeError(
                f"{where}.{key}: must be of type {kind.__name__} (got {value!r}).", pointer=f"{where}.{key}"
            )
    return {**known, **given}


def own_architecture(
    model: Model, dims: Mapping[str, Any], *, default: str, known: Sequence[str], task: str
) -> Architecture:
    """Describe one of bigray's own networks: the task's dimensions and the user's checked options.

    Raises:
        RecipeError: A source or network that does not suit the task, or an unknown option.
    """
    name = default if model.name == "auto" else model.name
    if model.source != "bigray" or name not in known:
        raise RecipeError(
            f"model: {task} has no network {model.source}/{name}. Known with source bigray: {', '.join(known)}.",
            pointer="model.name",
        )
    options = plugins.load("bigray.models", name).OPTIONS[dims["kind"]]
    chosen = own_options(model.options, options, "model.options")
    return Architecture(source="bigray", name=name, options={**chosen, **dims}, weights=model.weights)
