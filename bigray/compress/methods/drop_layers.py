"""Layer dropping: leave out whole layers of a network whose layers add to a residual stream.

Sajjad et al. 2020 (arXiv 2004.03844): fine-tuned encoders keep most of their quality with half of their layers, best when
those on top are the ones to go.

1. find layers that may go: members of a list of modules, run once each, whose output has the shape of their input and
   still depends on it when all of their matrices are zero, as a residual connection then carries it through;
2. choose ``1 - keep`` of them: ``top`` takes the last ones; ``alternate`` spreads those that stay evenly; ``importance``
   takes those whose output is nearest to their input (mean cosine over calibration rows);
3. put a pass-through in their place, so that the other layers keep their names.

Suits encoders of transformers (BERT, RoBERTa, DistilBERT, ViT, Wav2Vec2, ...) and residual blocks that change neither
channels nor stride, in bigray's own networks and torchvision's. Time and size fall with the layers, on every engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bigray.compress.base import ConversionError, Method, MethodConfig, Samples, knob
from bigray.compress.methods import _networks
from bigray.engines.base import Program
from bigray.tasks.base import Task

if TYPE_CHECKING:
    import torch
    from torch import nn


class Config(MethodConfig):
    """Knobs of `DropLayers`."""

    keep: float = knob(0.5, low=0.1, high=1.0, search=(0.4, 0.9))
    """Share of the layers that stay, at least one; 1 drops none."""
    which: Literal["top", "alternate", "importance"] = knob("top", choices=["top", "alternate", "importance"])
    """Which layers go: the last, every other, or those that change their input least."""


class DropLayers(Method):
    """See the module's text."""

    name = "drop_layers"
    stage = "network"
    rank = 0
    needs_recovery = True
    Config: ClassVar[type[MethodConfig]] = Config

    def suits(self, task: Task, engine: str) -> str | None:
        """Return a reason for bigray's own text networks, which have no layers around a residual stream."""
        if task.contract.field == "text" and task.model_type != "transformer":
            return "bigray's own text networks have no residual layers to leave out; use prune_structured"
        return None

    def prune(self, program: Program, config: Any, keep: Sequence[str], samples: Samples) -> None:
        """Put pass-throughs in the place of layers.

        Raises:
            ConversionError: The network has no layer that may go, or too few for this ``keep``.
        """
        from bigray.models import _replacements

        settings = Config.model_validate(config.model_dump())
        if settings.keep == 1:
            return
        network = program.network.cpu().eval()
        batch = _networks.example(program)
        before, size = _networks.shapes(program, batch), _networks.size(network)
        layers = _layers(program, batch, keep)
        left = max(1, round(settings.keep * len(layers)))
        if left >= len(layers):
            found = f"{len(layers)} layer{'' if len(layers) == 1 else 's'}"
            raise ConversionError(
                f"drop_layers drops nothing at keep {settings.keep:g}: the network has {found} around a "
                "residual stream. Lower keep, or use prune_structured."
            )
        for name in _chosen(program, settings, layers, len(layers) - left, samples):
            _replacements.put(network, name, _replacements.Skip())
        _networks.require_same_shapes(program, before)
        if _networks.size(network) >= size:
            raise ConversionError(f"drop_layers left {size:,} parameters of {size:,}: the layers hold none.")


@dataclass
class _Call:
    """How a layer was called, and what came of it."""

    arguments: list[tuple[Any, Mapping[str, Any]]] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)


def _calls(program: Program, batch: Mapping[str, torch.Tensor], names: Sequence[str]) -> dict[str, _Call]:
    """Run the network and return how each of the modules was called, in the order of their first call."""
    import torch

    calls: dict[str, _Call] = {}
    handles = []

    def watch(name: str) -> Any:
        def hook(_: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
            call = calls.setdefault(name, _Call())
            call.arguments.append((args, kwargs))
            call.outputs.append(output)

        return hook

    for name in names:
        module = program.network.get_submodule(name)
        handles.append(module.register_forward_hook(watch(name), with_kwargs=True))
    try:
        with torch.no_grad():
            program.forward(program.network, batch)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _layers(program: Program, batch: Mapping[str, torch.Tensor], keep: Sequence[str]) -> list[str]:
    """Return the names of the layers that may go, in the order in which they run."""
    from torch import nn

    lists = (nn.ModuleList, nn.Sequential)
    modules = dict(program.network.named_modules())
    candidates = [
        name
        for name, module in modules.items()
        if name
        and isinstance(modules[name.rpartition(".")[0]], lists)
        and not isinstance(module, lists)
        and any(True for _ in module.children())
        and not _networks.is_kept(name, keep)
    ]
    found: list[str] = []
    for name, call in _calls(program, batch, candidates).items():
        if len(call.outputs) == 1 and _carries_through(modules[name], *call.arguments[0], call.outputs[0]):
            found.append(name)
    # of layers within layers the outer one is meant
    return [name for name in found if not any(name.startswith(f"{other}.") for other in found)]


def _carries_through(layer: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> bool:
    import copy

    import torch

    if not args or not isinstance(args[0], torch.Tensor) or not isinstance(output, torch.Tensor):
        return False
    if args[0].shape != output.shape or args[0].dtype != output.dtype:
        return False
    empty = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in empty.parameters():
            if parameter.dim() > 1:
                parameter.zero_()
        # values that no norm and no ReLU makes equal again
        noise = torch.rand(args[0].shape, generator=torch.Generator().manual_seed(0), dtype=args[0].dtype)
        one, other = (empty(value, *args[1:], **kwargs) for value in (noise, noise.flip(-1) + 1))
    return not torch.allclose(one, other)


def _chosen(program: Program, settings: Config, layers: list[str], count: int, samples: Samples) -> list[str]:
    """Return the ``count`` layers to drop."""
    if settings.which == "top":
        return layers[-count:]
    if settings.which == "alternate":
        left = len(layers) - count
        step = (len(layers) - 1) / max(1, left - 1)
        stay = {round(number * step) for number in range(left)}
        return [name for number, name in enumerate(layers) if number not in stay]
    return sorted(layers, key=_change(program, layers, samples).__getitem__)[:count]


def _change(program: Program, layers: list[str], samples: Samples) -> dict[str, float]:
    """Return, per layer, 1 - the mean cosine between its input and its output."""
    from torch.nn import functional

    change = dict.fromkeys(layers, 0.0)
    for batch in samples.batches("drop_layers by importance"):
        calls = _calls(program, {name: batch[name] for name in program.inputs}, layers)
        for name, call in calls.items():
            before, after = call.arguments[0][0][0].flatten(1), call.outputs[0].flatten(1)
            change[name] += float((1 - functional.cosine_similarity(before, after)).sum())
    return change


METHOD = DropLayers()
