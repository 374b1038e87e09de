"""Modules that compression puts in the place of others, and how they are rebuilt from their description.

A compressed network is its builder's network with some modules exchanged. `bigray.models._weights` stores a description
of each exchanged module, ``{"kind": "skip"}``, and `rebuild` makes it again, with no weights yet, from the module that
the builder put there. So artifacts need neither pickles nor the code of the method that did it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from bigray.errors import ArtifactError


class Replacement(nn.Module):
    """What all of them can do."""

    kind: ClassVar[str]

    def described(self) -> dict[str, int]:
        """Return the sizes that `bare` needs."""
        return {}

    @classmethod
    def bare(cls, original: Any) -> Replacement:
        """Make one for the place of ``original``, with weights of no meaning."""
        raise NotImplementedError


class Skip(Replacement):
    """In the place of a layer: returns its first argument as it is."""

    kind = "skip"

    @classmethod
    def bare(cls, original: Any) -> Skip:
        """Make one."""
        return cls()

    def forward(self, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Return ``x``."""
        return x


KINDS: Mapping[str, type[Replacement]] = {one.kind: one for one in (Skip,)}


def describe(network: nn.Module) -> dict[str, dict[str, Any]]:
    """Return name -> description of every exchanged module of a network."""
    return {
        name: {"kind": module.kind, **module.described()}
        for name, module in network.named_modules()
        if isinstance(module, Replacement)
    }


def rebuild(network: nn.Module, descriptions: Mapping[str, Mapping[str, Any]]) -> None:
    """Exchange modules of a freshly built network as described.

    Raises:
        ArtifactError: A description of no known kind, or one that does not fit this network.
    """
    for name, description in descriptions.items():
        sizes = dict(description)
        kind = KINDS.get(sizes.pop("kind", ""))
        if kind is None:
            raise ArtifactError(f"Module {name!r} is of kind {description.get('kind')!r}. Known: {', '.join(KINDS)}.")
        try:
            put(network, name, kind.bare(network.get_submodule(name), **sizes))
        except (AttributeError, TypeError, ValueError) as error:
            raise ArtifactError(f"Module {name!r} of this network cannot become a {kind.kind}: {error}.") from None


def put(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` in the place called ``name``, in the mode (training or not) of the one that was there."""
    path, _, leaf = name.rpartition(".")
    module.train(network.get_submodule(name).training)
    setattr(network.get_submodule(path), leaf, module)
