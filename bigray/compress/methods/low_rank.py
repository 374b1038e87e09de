"""Low-rank factorisation: a layer of weights W (outputs, inputs) becomes two of rank r, W ~ B A, with r (inputs + outputs)
weights and operations instead of inputs x outputs.

Truncated singular value decomposition, weighted by what the layer is fed: of all matrices of rank r the one is taken that
changes the layer's outputs on the calibration rows least, which plain truncation does only for white inputs (Wang et al.
2024, SVD-LLM, arXiv 2403.07378):

1. C = mean of x x' over the inputs x of the layer;  C = L L'  (Cholesky);
2. W L = U S V'  (singular values in falling order), the first r of them kept;
3. A = sqrt(S) V' inv(L)    (r, inputs);    B = U sqrt(S)    (outputs, r).

Acts on linear layers and convolutions of one point. Layers that two factors would not make smaller are left alone: a
square one gains below a rank of half its width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from bigray.compress.base import ConversionError, Method, MethodConfig, Samples, knob
from bigray.compress.methods import _networks
from bigray.engines.base import Program
from bigray.tasks.base import Task

if TYPE_CHECKING:
    import torch
    from torch import nn

STEP = 8
"""Ranks are multiples of this, as vector units like it; below it any number."""
RIDGE = 1e-5
"""Share of the mean variance that is added to every input's, so that directions never seen can be inverted."""


class Config(MethodConfig):
    """Knobs of `LowRank`."""

    rank_ratio: float = knob(0.4, low=0.02, high=0.95, search=(0.2, 0.6))
    """Rank as a share of the full one, the smaller of a layer's inputs and outputs."""
    weighted: bool = knob(True, choices=[True, False], search=[])
    """Whether errors count by how much the calibration rows make of them; without it all inputs count alike."""


class LowRank(Method):
    """See the module's text."""

    name = "low_rank"
    stage = "network"
    rank = 3
    needs_recovery = True
    Config: ClassVar[type[MethodConfig]] = Config

    def suits(self, task: Task, engine: str) -> str | None:
        """Return None: two small layers run wherever a large one does."""
        return None

    def prune(self, program: Program, config: Any, keep: Sequence[str], samples: Samples) -> None:
        """Exchange layers for their factors.

        Raises:
            ConversionError: No layer gets smaller at this rank, or the network uses a layer's weights by itself.
        """
        from bigray.models import _replacements

        settings = Config.model_validate(config.model_dump())
        program = _networks.in_training(program, samples)
        network = program.network.cpu().eval()
        before, size = _networks.shapes(program, _networks.example(program)), _networks.size(network)
        layers = {
            name: module
            for name, module in network.named_modules()
            if not _networks.is_kept(name, keep) and _rank(module, settings.rank_ratio)
        }
        if not layers:
            raise ConversionError(
                f"low_rank makes no layer smaller at rank_ratio {settings.rank_ratio:g}: the network has no linear layer "
                "or convolution of one point whose two factors would be less than itself. Lower rank_ratio."
            )
        moments = _moments(program, layers, samples) if settings.weighted else {}
        for name, layer in layers.items():
            factors = _replacements.LowRank.bare(layer, _rank(layer, settings.rank_ratio))
            _fill(factors, layer, moments.get(name))
            _replacements.put(network, name, factors)
        _networks.require_same_shapes(program, before)
        if _networks.size(network) >= size:
            raise ConversionError(f"low_rank left {size:,} parameters of {size:,}: the layers share their weights.")


def _rank(layer: Any, ratio: float) -> int:
    """Return the rank for a layer; 0 when it cannot be factored or would not shrink."""
    from torch import nn

    point = type(layer) in (nn.Conv1d, nn.Conv2d) and set(layer.kernel_size) == {1} and layer.groups == 1
    if type(layer) is not nn.Linear and not (point and not any(layer.padding)):
        return 0
    outputs, inputs = layer.weight.shape[:2]
    wanted = ratio * min(inputs, outputs)
    rank = round(wanted / STEP) * STEP if wanted >= STEP else max(1, round(wanted))
    return rank if rank * (inputs + outputs) < inputs * outputs else 0


def _moments(program: Program, layers: Mapping[str, nn.Module], samples: Samples) -> dict[str, torch.Tensor]:
    """Return, per layer, the sum of x x' over its inputs on the calibration rows, (inputs, inputs) float64."""
    import torch
    from torch import nn

    moments: dict[str, torch.Tensor] = {}
    handles = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, _: Any) -> None:
            x = args[0].detach()
            rows = (x if isinstance(module, nn.Linear) else x.movedim(1, -1)).flatten(0, -2).double()
            moments[name] = moments.get(name, 0) + rows.T @ rows

        return hook

    for name, layer in layers.items():
        handles.append(layer.register_forward_hook(watch(name)))
    try:
        with torch.no_grad():
            for batch in samples.batches("low_rank"):
                program.forward(program.network, {name: batch[name] for name in program.inputs})
    finally:
        for handle in handles:
            handle.remove()
    return moments


def _fill(factors: Any, layer: Any, moment: torch.Tensor | None) -> None:
    """Give the two factors their weights."""
    import torch

    with torch.no_grad():
        weight = layer.weight.detach().flatten(1).double()
        root = torch.eye(weight.shape[1], dtype=torch.float64)
        if moment is not None and (mean := moment.diagonal().mean()) > 0:
            root = torch.linalg.cholesky(moment / mean + RIDGE * root)
        left, values, right = torch.linalg.svd(weight @ root, full_matrices=False)
        rank = factors[0].weight.shape[0]
        scale = values[:rank].sqrt()
        first = torch.linalg.solve_triangular(root, scale[:, None] * right[:rank], upper=False, left=False)
        factors[0].weight.copy_(first.view_as(factors[0].weight))
        factors[1].weight.copy_((left[:, :rank] * scale).view_as(factors[1].weight))
        if layer.bias is not None:
            factors[1].bias.copy_(layer.bias)
        for factor in factors:
            factor.weight.requires_grad_(layer.weight.requires_grad)


METHOD = LowRank()
