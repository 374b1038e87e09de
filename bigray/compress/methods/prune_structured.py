"""Structured pruning: remove whole channels, hidden units and attention heads, so that every engine runs fewer operations.

DepGraph (Fang et al. 2023, arXiv 2301.12900), through Torch-Pruning, which traces which layers must shrink together:

1. trace the network on the program's example batch, and one that answers step by step as it trains, on calibration rows;
   group coupled layers;
2. leave alone groups that change an output, a module of ``keep``, or a stream that norms over layers, embeddings,
   grouped convolutions or recurrent cells ride on (in a transformer: the residual stream), and heads of a decoder, whose
   layers share one cache;
3. in each other group score every channel by what ``importance`` says, averaged over the group's layers; in attention
   sum the scores by head;
4. remove the lowest ``ratio`` of them, rounded so that what is left suits vector units.

Measured (random weights, one thread, int8 on OpenVINO over the same unpruned): ratio 0.3 gives 1.1 to 1.4 times the
speed on MiniLM and 0.5 gives 1.4 to 1.8; on ResNet-50 0.25 gives 1.6 and 0.5 gives 2.8, on a small residual network at
32 x 32 1.1 to 1.2 and 1.6 to 2.0. In conv networks both sides of a layer shrink, so operations fall with the square.
Without further training even 0.25 ruins a network; with a few epochs of it a small image classifier lost 0 to 1 point at
0.25 to 0.5.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bigray.compress.base import ConversionError, Method, MethodConfig, Samples, knob
from bigray.compress.methods import _networks
from bigray.engines.base import Program
from bigray.tasks.base import Task

if TYPE_CHECKING:
    import torch
    from torch import nn

QUERY_KEY_VALUE = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("q", "k", "v"),
)
"""How transformers names the three projections of an attention module."""
HEADS = ("num_attention_heads", "num_heads", "n_heads", "heads")
"""How it and bigray name the number of heads."""


class Config(MethodConfig):
    """Knobs of `PruneStructured`."""

    ratio: float = knob(0.3, low=0.0, high=0.75, search=(0.1, 0.5))
    """Share of channels, hidden units and heads removed from each group; 0 removes nothing."""
    parts: Literal["all", "feed_forward"] = knob("all", choices=["all", "feed_forward"], search=[])
    """``feed_forward`` leaves the heads of attention as they are; the same as ``all`` where there is no attention."""
    importance: Literal["magnitude", "taylor", "activation"] = knob(
        "magnitude", choices=["magnitude", "taylor", "activation"]
    )
    """What a channel is worth: its squared weights, |weight x gradient| of the task's loss, or its mean absolute output."""
    round_to: int = knob(8, low=1, high=64, search=[])
    """What remains is a multiple of this; halved for layers narrower than four times it."""
    skip: str = knob("", search=[])
    """Groups that stay as they are: the names of their first layers, with commas between (see `groups`)."""


class PruneStructured(Method):
    """See the module's text."""

    name = "prune_structured"
    stage = "network"
    rank = 2
    needs_recovery = True
    Config: ClassVar[type[MethodConfig]] = Config

    def suits(self, task: Task, engine: str) -> str | None:
        """Return a reason for networks of several parts besides an encoder and a decoder (synthesisers of speech)."""
        if set(task.graphs) - {"", "step"}:
            return "the parts of this network are not traced as one; use quantize_dynamic"
        return None

    def prune(self, program: Program, config: Any, keep: Sequence[str], samples: Samples) -> None:
        """Make the network's layers narrower in place; its inputs and outputs keep their shapes.

        Raises:
            ConversionError: Nothing could be removed, or the network cannot run with narrower layers.
        """
        settings = Config.model_validate(config.model_dump())
        if settings.ratio == 0:
            return
        program, steps = _networks.in_training(program, samples), bool(program.parts)
        network = program.network.cpu().eval()
        batch = _networks.example(program)
        trainable = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
        before = _networks.shapes(program, batch)
        size = _networks.size(network)
        modules = [network.get_submodule(name) for name in keep]
        try:
            _remove(program, batch, settings, modules, samples, steps)
        except ConversionError:
            raise
        except Exception as error:  # the tracer fails in many ways on operations that it does not know
            raise ConversionError(
                f"Torch-Pruning cannot follow this network: {type(error).__name__}: {error}. Use other methods."
            ) from error
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(trainable[name])
        if _networks.size(network) == size:
            raise ConversionError(
                f"prune_structured removed nothing at ratio {settings.ratio:g} and round_to {settings.round_to}: the "
                "network has no group of channels that it may shrink, or all are too narrow. Raise the ratio."
            )
        _networks.require_same_shapes(program, before)


def groups(program: Program, keep: Sequence[str], samples: Samples) -> list[str]:
    """Return the name of the first layer of each group that could be narrower, in the order of the network."""
    program, steps = _networks.in_training(program, samples), bool(program.parts)
    network = program.network.cpu().eval()
    graph = _trace(program, _networks.example(program))
    kept = {id(inner) for name in keep for inner in network.get_submodule(name).modules()}
    choices = _choices(graph, Config(ratio=0.5), kept, _attention(network, steps), network)
    found = {id(module) for module, *_ in choices}
    return [name for name, module in network.named_modules() if id(module) in found]


def _remove(
    program: Program,
    batch: Mapping[str, torch.Tensor],
    settings: Config,
    keep: list[nn.Module],
    samples: Samples,
    steps: bool,
) -> None:
    from bigray.compress.methods import _importance

    graph = _trace(program, batch)
    kept = {id(inner) for module in keep for inner in module.modules()}
    # every choice before the first cut: a cut shifts the indices of layers behind a concatenation
    heads = _attention(program.network, steps)
    with _importance.in_place_of_weights(program, settings.importance, samples):
        choices = list(_choices(graph, settings, kept, heads, program.network))
    for module, handler, chosen, shrunk in choices:
        group = graph.get_pruning_group(module, handler, chosen)
        if graph.check_pruning_group(group):
            group.prune()
            for attention, removed in shrunk:
                attention.shrink(removed)


def _trace(program: Program, batch: Mapping[str, torch.Tensor]) -> Any:
    import torch_pruning
    from torch import nn

    from bigray.compress.methods import _recurrent

    network = program.network
    network.requires_grad_(True)  # the tracer follows gradients

    def run(_: nn.Module, inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        return [value for value in program.forward(network, inputs).values() if value.grad_fn is not None]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unwrapped parameters: their groups are left alone
        graph = torch_pruning.DependencyGraph().build_dependency(
            network,
            example_inputs=batch,
            forward_fn=run,
            customized_pruners={nn.LSTM: _recurrent.HiddenUnits(), nn.GRU: _recurrent.HiddenUnits()},
            verbose=False,
        )
    _mend_slices(graph)
    return graph


def _choices(
    graph: Any, settings: Config, kept: set[int], heads: Mapping[int, _Attention], network: nn.Module
) -> Iterator[tuple[nn.Module, Any, list[int], list[tuple[_Attention, int]]]]:
    """Yield, per group, its first module, how that is cut, the indices to cut, and attention modules with heads to go."""
    import torch
    import torch_pruning
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    from bigray.compress.methods import _recurrent

    skipped = set(settings.skip.split(","))
    left_alone = {id(module) for name, module in network.named_modules() if name in skipped}
    score = torch_pruning.importance.GroupMagnitudeImportance(p=2, group_reduction="mean", normalizer="mean")
    for group in graph.get_all_groups(root_module_types=[_ConvNd, nn.Linear, nn.LSTM, nn.GRU]):
        touched = [(entry.target.module, graph.is_out_channel_pruning_fn(entry.handler)) for entry, _ in group]
        if id(group[0].dep.target.module) in left_alone:
            continue
        if any(_is_fixed(module, out, graph, kept) for module, out in touched):
            continue
        owners = {id(heads[id(module)]): heads[id(module)] for module, out in touched if out and id(module) in heads}
        if owners and (settings.parts == "feed_forward" or any(owner.cached for owner in owners.values())):
            continue
        parts = [values for values in (score(group),) if values is not None]
        parts += [_recurrent.strength(module) for module, out in touched if out and isinstance(module, nn.RNNBase)]
        if not parts:
            continue
        values = torch.stack(parts).sum(0).nan_to_num()  # a layer that is worth nothing at all divides by zero
        if owners:
            count = next(iter(owners.values())).heads
            chosen = _heads(values, count, settings)
        else:
            count = max((module.num_groups for module, _ in touched if isinstance(module, nn.GroupNorm)), default=1)
            chosen = _channels(values, count, settings)
        if chosen:
            shrunk = [(attention, len(chosen) * count // len(values)) for attention in owners.values()]
            yield group[0].dep.target.module, group[0].dep.handler, chosen, shrunk


def _mend_slices(graph: Any) -> None:
    """Stop slices of steps from being taken for slices of channels.

    Torch-Pruning 1.6 takes the last axis of a 3-D tensor for the channels, which is so behind a linear layer; behind a
    1-D convolution, (N, C, T), they are the middle one.
    """
    from torch import nn
    from torch_pruning import ops

    for node in [node for node in graph.module2node.values() if node.type == ops.OPTYPE.SLICE]:
        source = node
        while source.inputs and not isinstance(source.module, nn.Conv1d | nn.Linear | nn.Embedding):
            source = source.inputs[0]
        dim = node.module.dim if node.module.dim < 100 else node.module.dim - 2**64  # saved as an unsigned number
        if isinstance(source.module, nn.Conv1d) and dim % 3 != 1:
            node.type = ops.OPTYPE.ELEMENTWISE
            for one in [
                *node.dependencies,
                *(one for other in node.inputs + node.outputs for one in other.dependencies),
            ]:
                if node in (one.source, one.target):
                    one.index_mapping[0] = None


def _is_fixed(module: Any, out: bool, graph: Any, kept: set[int]) -> bool:
    """Whether a group that touches this module must be left alone."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    node = graph.module2node[module]
    if isinstance(module, nn.Parameter | nn.LayerNorm | nn.RMSNorm | nn.Embedding | nn.MultiheadAttention):
        return True
    if isinstance(module, nn.RNNBase) and (module.bidirectional or module.proj_size or isinstance(module, nn.RNN)):
        return True
    if (
        isinstance(module, _ConvNd)
        and module.groups > 1
        and not module.groups == module.in_channels == module.out_channels
    ):
        return True
    if type(module).__name__ == "_OutputOp":
        return True
    return out and (id(module) in kept or not node.outputs)


def _channels(values: torch.Tensor, normed: int, settings: Config) -> list[int]:
    """Choose the weakest channels; with group norm the same number in each of its ``normed`` groups."""
    rows = values.view(normed, -1)
    width = rows.shape[1]
    step = settings.round_to
    while step > 1 and (len(values) < 4 * step or len(values) % step):
        step //= 2
    inner = max(1, step // normed) if normed > 1 else step  # a multiple of the step over all groups together
    left = max(inner, round(width * (1 - settings.ratio) / inner) * inner)
    if left >= width:
        return []
    weakest = rows.argsort(dim=1, stable=True)[:, : width - left]
    return sorted(int(index) + row * width for row, line in enumerate(weakest) for index in line)


def _heads(values: torch.Tensor, count: int, settings: Config) -> list[int]:
    """Choose the channels of the weakest heads; one head is always left."""
    rows = values.view(count, -1)
    width = rows.shape[1]
    removed = min(count - 1, round(count * settings.ratio))
    weakest = rows.mean(1).argsort(stable=True)[:removed]
    return sorted(int(head) * width + offset for head in weakest for offset in range(width))


class _Attention:
    """An attention module with separate query, key and value projections; ``cached`` is what a decoder's steps attend to."""

    def __init__(self, module: nn.Module, heads: int, cached: bool) -> None:
        self.module = module
        self.heads = heads
        self.cached = cached

    def shrink(self, removed: int) -> None:
        """Correct the module's own record of its sizes."""
        sizes, left = self.module.__dict__, self.heads - removed
        sizes.update({name: left for name in HEADS if name in sizes})
        if "all_head_size" in sizes:
            sizes["all_head_size"] = sizes["all_head_size"] * left // self.heads


def _attention(network: nn.Module, steps: bool) -> dict[int, _Attention]:
    """Map the id of each query, key and value layer to its attention module; ``steps``: it answers step by step."""
    from torch import nn

    found = {}
    for path, module in network.named_modules():
        counts = [module.__dict__[name] for name in HEADS if isinstance(module.__dict__.get(name), int)]
        for names in QUERY_KEY_VALUE:
            layers = [getattr(module, name, None) for name in names]
            widths = {layer.out_features for layer in layers if isinstance(layer, nn.Linear)}
            if counts and len(widths) == 1 and all(isinstance(layer, nn.Linear) for layer in layers):
                attention = _Attention(module, counts[0], steps and "decoder" in path.split("."))
                found.update({id(layer): attention for layer in layers})
    return found


METHOD = PruneStructured()
