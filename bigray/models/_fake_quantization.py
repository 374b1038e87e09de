"""Fake quantization: a network trains with its weights and layer inputs rounded as an 8-bit engine will round them.

    round(x) = s * (clip(rint(x / s) + z, least, most) - z)         gradient 1 inside the range, 0 outside

Rounding has no gradient, so the one of the identity stands in (straight-through estimator: Bengio et al. 2013, arXiv
1308.3432). Weights get a scale per output channel, from their largest; batch norm behind a layer scales whole channels, so
folding it later changes weights and scales alike and needs no care here. Inputs get one range, low to high, the moving
average of what batches held (Jacob et al. 2018, arXiv 1712.05877, section 3.1).

Whoever put them there calls `settle` when training is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from bigray.models import _parametrized

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose output channels are the first axis of their weight."""
KEPT = 0.95
"""Share of a range that a new batch leaves as it was."""
TINY = 1e-8


class RoundedWeight(nn.Module):
    """A parametrization: weight (outputs, ...) on a grid of 2^bits - 1 numbers around 0, a scale per output."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.most = 2 ** (bits - 1) - 1

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight, rounded."""
        scale = weight.detach().abs().flatten(1).amax(1).clamp(min=TINY) / self.most
        zero = torch.zeros_like(scale, dtype=torch.int32)
        rounded: torch.Tensor = torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -self.most, self.most)
        return rounded


class RoundedInput(nn.Module):
    """Rounds what a layer is given to 8 bits; in training mode the range follows the batches.

    ``symmetric``: around 0, so that z is 0; otherwise from the lowest to the highest value, 0 among them.
    """

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, *, symmetric: bool) -> None:
        super().__init__()
        self.symmetric, self.seen = symmetric, False
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x``, rounded."""
        if self.training or not self.seen:
            self._follow(x.detach())
        if self.symmetric:
            least, most = -128, 127
            scale = torch.maximum(-self.low, self.high).clamp(min=TINY) / most
            zero = torch.zeros_like(scale, dtype=torch.int32)
        else:
            least, most = 0, 255
            scale = (self.high - self.low).clamp(min=TINY) / most
            zero = (-self.low / scale).round().clamp(least, most).to(torch.int32)
        rounded: torch.Tensor = torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, least, most)
        return rounded.to(x.dtype)

    def _follow(self, x: torch.Tensor) -> None:
        low, high = x.amin().float().clamp(max=0), x.amax().float().clamp(min=0)
        kept = KEPT if self.seen else 0.0
        self.low = low.lerp(self.low, kept)
        self.high = high.lerp(self.high, kept)
        self.seen = True


def put(network: nn.Module, *, bits: int, symmetric: bool) -> int:
    """Round weights and inputs of every layer of `LAYERS`; return their number.

    Left alone are layers that share their weight with another, and those that make it of two parts (weight norm).
    """
    owners = Counter(id(parameter) for _, parameter in network.named_parameters(remove_duplicate=False))
    found = [layer for layer in network.modules() if isinstance(layer, LAYERS) and owners[id(_own_weight(layer))] == 1]
    for layer in found:
        parametrize.register_parametrization(layer, "weight", RoundedWeight(bits))
        layer.rounded_input = RoundedInput(symmetric=symmetric)
        layer.rounded_input.handle = layer.register_forward_pre_hook(_round)  # type: ignore[assignment]
    return len(found)


def settle(network: nn.Module) -> int:
    """Take the rounding away; the weights keep their rounded values. Return the number of layers."""
    count = 0
    for layer in list(network.modules()):
        if not isinstance(rounded := getattr(layer, "rounded_input", None), RoundedInput):
            continue
        handle: Any = rounded.handle
        handle.remove()
        del layer.rounded_input
        count += 1
        if any(isinstance(one, RoundedWeight) for one in _chain(layer)):
            _parametrized.bake(layer)
    return count


def _round(layer: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if not args or not torch.is_floating_point(args[0]):
        return None
    return (layer.rounded_input(args[0]), *args[1:])


def _own_weight(layer: Any) -> torch.Tensor | None:
    """Return the one parameter behind a layer's weight, which a mask may cover; None where there are several."""
    if parametrize.is_parametrized(layer, "weight"):
        return getattr(layer.parametrizations["weight"], "original", None)
    return layer.weight  # type: ignore[no-any-return]


def _chain(layer: Any) -> Iterator[nn.Module]:
    if parametrize.is_parametrized(layer, "weight"):
        yield from layer.parametrizations["weight"]
