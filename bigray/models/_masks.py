"""Masks that hold weights at zero while a network is trained, and grow on a schedule.

A mask is a parametrization of a weight (`torch.nn.utils.parametrize`): the layer computes with ``weight * mask``, the
optimizer goes on with the weight itself, and state that belongs together stays in one module. Whoever trains calls
`advance` after every step; whoever put the masks there calls `settle` when training is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from bigray.models import _parametrized

RAMP = 0.7
"""A growing mask has its final size after this share of training; the rest is for what is left to settle."""
UPDATES = 50
"""A growing mask is chosen anew at most this many times."""


GROUP = 4
"""Of the 2:4 pattern: neighbouring inputs of which two are zero."""
TILE = (32, 64)
"""Outputs and inputs of a weight in that pattern are multiples of these in 16 bits (`torch.sparse.SparseSemiStructuredTensor`)."""


def fits_2_4(layer: nn.Module) -> bool:
    """Return whether sparse tensor cores take a layer's weight once it has the 2:4 pattern."""
    return type(layer) is nn.Linear and not (layer.out_features % TILE[0] or layer.in_features % TILE[1])


def is_2_4(layer: nn.Module) -> bool:
    """Return whether they take it as it is: of each four neighbouring inputs at most two count."""
    if not fits_2_4(layer):
        return False
    groups: torch.Tensor = layer.weight.detach().reshape(-1, GROUP)  # type: ignore[operator]
    return bool(((groups != 0).sum(1) <= GROUP // 2).all())


class Mask(nn.Module):
    """Zero for a share of a weight's entries, the smallest ones; with ``group`` the smallest of each so many inputs.

    ``cubic``: s(t) = s (1 - (1 - t)^3) at the share t of the ramp (Zhu and Gupta 2017, arXiv 1710.01878, equation 1, from
    nothing); otherwise all at once.
    """

    mask: torch.Tensor

    def __init__(self, weight: torch.Tensor, sparsity: float, *, cubic: bool = False, group: int | None = None) -> None:
        super().__init__()
        self.sparsity, self.cubic, self.group = sparsity, cubic, group
        self._tick = -1
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        self.advance(0.0, weight)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight with zeros in it."""
        return weight * self.mask

    def advance(self, progress: float, weight: torch.Tensor) -> None:
        """Choose which entries are zero at this share of training (0 to 1); ``weight`` is the one without zeros."""
        part = min(1.0, progress / RAMP) if self.cubic else 1.0
        tick = round(part * UPDATES)
        if tick == self._tick:
            return
        self._tick = tick
        share = self.sparsity * (1 - (1 - part) ** 3)
        sizes = weight.detach().abs()
        if self.group is None:
            count = round(share * sizes.numel())
            # a threshold, not a sort of millions of weights at every update
            self.mask = sizes > sizes.reshape(-1).kthvalue(count).values if count else torch.ones_like(self.mask)
            return
        rows = sizes.flatten(1).reshape(-1, self.group)
        smallest = rows.topk(round(share * self.group), dim=-1, largest=False).indices
        self.mask = torch.ones_like(rows, dtype=torch.bool).scatter_(-1, smallest, False).view_as(weight)


def put(layer: nn.Module, mask: Mask) -> None:
    """Mask a layer's weight."""
    parametrize.register_parametrization(layer, "weight", mask)


def advance(network: nn.Module, progress: float) -> None:
    """Tell every mask of a network how much of its training is done, 0 to 1."""
    for _, mask, chain in _masks(network):
        mask.advance(progress, chain.original)


def settle(network: nn.Module) -> int:
    """Give every mask its final size and make its zeros part of the weights; return the number of masks."""
    found = list(_masks(network))
    for layer, mask, chain in found:
        mask.advance(1.0, chain.original)
        _parametrized.bake(layer)
    return len(found)


def _masks(network: nn.Module) -> Iterator[tuple[nn.Module, Mask, Any]]:
    for layer in network.modules():
        if not parametrize.is_parametrized(layer, "weight"):
            continue
        chain: Any = layer.parametrizations["weight"]  # type: ignore[index]
        for mask in chain:
            if isinstance(mask, Mask):
                yield layer, mask, chain
