"""Unstructured pruning: the smallest weights become zero and stay zero; shapes stay as they are.

Han et al. 2015 (arXiv 1506.02626): small weights go, training wins quality back. ``cubic`` lets the share of zeros grow
while recovery trains, s(t) = s (1 - (1 - t)^3), fast at first and slow at the end (Zhu and Gupta 2017, arXiv 1710.01878).

**It makes nothing faster on a CPU**: dense kernels multiply zeros as they do other numbers (measured at 50 to 95 %, one
thread, torch and OpenVINO: 0.96 to 1.09 times), and sparse kernels lose against 8-bit ones. **Nor are files smaller as
they lie on disk**; what shrinks is what a compressor makes of them: of 8-bit weights with 80 % zeros gzip makes 0.36 of
what it makes of dense ones, with 90 % 0.20. Take it for models that are shipped compressed, together with 8 bits, and
prune_structured for speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bigray.compress.base import ConversionError, Method, MethodConfig, Samples, knob
from bigray.compress.methods import _networks
from bigray.engines.base import Program
from bigray.tasks.base import Task

if TYPE_CHECKING:
    from torch import nn

MOST = 0.98
"""No layer loses more than this share of its weights, however small they are beside those of other layers."""


class Config(MethodConfig):
    """Knobs of `PruneMagnitude`."""

    sparsity: float = knob(0.6, low=0.0, high=0.95, search=(0.4, 0.9))
    """Share of the weights of linear layers and convolutions that become zero; 0 does nothing."""
    schedule: Literal["cubic", "one_shot"] = knob("cubic", choices=["cubic", "one_shot"], search=[])
    """Whether the zeros come bit by bit while recovery trains, or all before it."""
    scope: Literal["global", "layer"] = knob("global", choices=["global", "layer"], search=[])
    """Whether weights are compared over the whole network, or every layer gives the same share."""


class PruneMagnitude(Method):
    """See the module's text."""

    name = "prune_magnitude"
    stage = "network"
    rank = 4
    needs_recovery = True
    Config: ClassVar[type[MethodConfig]] = Config

    def suits(self, task: Task, engine: str) -> str | None:
        """Return None: every engine takes zeros."""
        return None

    def prune(self, program: Program, config: Any, keep: Sequence[str], samples: Samples) -> None:
        """Put masks on the weights; the heads in ``keep`` stay dense.

        Raises:
            ConversionError: The network has no linear layer and no convolution besides its heads.
        """
        from bigray.models import _masks

        settings = Config.model_validate(config.model_dump())
        if settings.sparsity == 0:
            return
        layers = _layers(program.network, keep)
        if not layers:
            raise ConversionError(
                "prune_magnitude found no linear layer and no convolution besides the heads; recurrent layers and "
                "embeddings are not pruned. Use other methods."
            )
        for name, share in _shares(layers, settings).items():
            layer = layers[name]
            cubic = settings.schedule == "cubic"
            _masks.put(layer, _masks.Mask(layer.weight, share, cubic=cubic))

    def finish(self, program: Program, config: Any, keep: Sequence[str]) -> None:
        """Make the zeros part of the weights.

        Raises:
            ConversionError: There are fewer zeros than asked for.
        """
        from bigray.models import _masks

        settings = Config.model_validate(config.model_dump())
        if settings.sparsity == 0:
            return
        _masks.settle(program.network)
        weights = [layer.weight for layer in _layers(program.network, keep).values()]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        total = sum(weight.numel() for weight in weights)
        if zeros < 0.98 * settings.sparsity * total:
            raise ConversionError(
                f"prune_magnitude left {zeros:,} zeros among {total:,} weights, and {settings.sparsity:.0%} were asked for."
            )


def _layers(network: nn.Module, keep: Sequence[str]) -> dict[str, Any]:
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | _ConvNd) and not _networks.is_kept(name, keep)
    }


def _shares(layers: Mapping[str, Any], settings: Config) -> dict[str, float]:
    """Return the share of zeros of each layer."""
    import torch

    if settings.scope == "layer":
        return dict.fromkeys(layers, settings.sparsity)
    # in units of each layer's own spread: initial weights are small where a layer has many inputs
    sizes = {name: layer.weight.detach().abs().flatten() for name, layer in layers.items()}
    sizes = {name: value / value.square().mean().sqrt().clamp(min=1e-12) for name, value in sizes.items()}
    shares, sparsity = dict[str, float](), settings.sparsity
    joined = torch.cat(list(sizes.values()))
    limit = joined.kthvalue(max(1, round(sparsity * len(joined)))).values
    for name, value in sizes.items():
        shares[name] = float((value <= limit).double().mean())
    return shares if max(shares.values()) <= MOST else _capped(shares, {n: len(v) for n, v in sizes.items()}, sparsity)


def _capped(shares: Mapping[str, float], sizes: Mapping[str, int], sparsity: float) -> dict[str, float]:
    """Give what layers over `MOST` have too much to the others, evenly."""
    full = {name for name, share in shares.items() if share >= MOST}
    rest = {name: size for name, size in sizes.items() if name not in full}
    over = sum((shares[name] - MOST) * sizes[name] for name in full)
    extra = over / max(1, sum(rest.values()))
    return {name: MOST if name in full else min(MOST, share + extra) for name, share in shares.items()}


METHOD = PruneMagnitude()
