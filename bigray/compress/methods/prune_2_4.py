"""2:4 pruning: of each four neighbouring inputs of an output, the two smallest weights become zero.

The pattern that NVIDIA GPUs since Ampere multiply at up to twice the speed (Mishra et al. 2021, arXiv 2104.08378), in
PyTorch by `torch.sparse.to_sparse_semi_structured`. CPUs have no kernels for it ("Only CUDA tensors are currently
supported"), so the method is offered only where there is such a GPU, and only for weights that are then run there: the
engines here run on the CPU, where the zeros bring nothing but compressed size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from bigray.compress.base import ConversionError, Method, MethodConfig, Samples
from bigray.compress.methods import _networks
from bigray.engines.base import Program
from bigray.tasks.base import Task

GROUP = 4
CAPABILITY = (8, 0)
"""Oldest compute capability whose tensor cores know the pattern."""


class Config(MethodConfig):
    """No knobs."""


class Prune24(Method):
    """See the module's text."""

    name = "prune_2_4"
    stage = "network"
    rank = 4
    needs_recovery = True
    Config: ClassVar[type[MethodConfig]] = Config

    def available(self) -> str | None:
        """Return None where there is a GPU whose tensor cores know the pattern."""
        import torch

        if not torch.cuda.is_available():
            return "there is no CUDA device, and CPUs have no kernels for the 2:4 pattern; use prune_structured"
        if (found := torch.cuda.get_device_capability()) < CAPABILITY:
            return f"this GPU has compute capability {found[0]}.{found[1]}; the 2:4 pattern needs 8.0 or later"
        return None

    def suits(self, task: Task, engine: str) -> str | None:
        """Return a reason for engines that write graphs for the CPU."""
        if engine != "torch_eager":
            return f"{engine} runs on the CPU here, which has no kernels for the 2:4 pattern; use torch_eager"
        return None

    def prune(self, program: Program, config: Any, keep: Sequence[str], samples: Samples) -> None:
        """Put masks on the linear layers; the heads in ``keep`` stay dense.

        Raises:
            ConversionError: There is no linear layer of a multiple of four inputs.
        """
        from bigray.models import _masks

        layers = _layers(program, keep)
        if not layers:
            raise ConversionError("prune_2_4 found no linear layer of a multiple of 4 inputs besides the heads.")
        for layer in layers:
            _masks.put(layer, _masks.Mask(layer.weight, 0.5, group=GROUP))

    def finish(self, program: Program, config: Any, keep: Sequence[str]) -> None:
        """Make the zeros part of the weights.

        Raises:
            ConversionError: The pattern was lost.
        """
        from bigray.models import _masks

        _masks.settle(program.network)
        for layer in _layers(program, keep):
            zeros = (layer.weight.detach().reshape(-1, GROUP) == 0).sum(1)
            if int(zeros.min()) < GROUP // 2:
                raise ConversionError("prune_2_4: a group of four weights holds fewer than two zeros after training.")


def _layers(program: Program, keep: Sequence[str]) -> list[Any]:
    from torch import nn

    return [
        module
        for name, module in program.network.named_modules()
        if isinstance(module, nn.Linear) and module.in_features % GROUP == 0 and not _networks.is_kept(name, keep)
    ]


METHOD = Prune24()
