"""2:4 pruning: of each four neighbouring inputs of an output, the two smallest weights become zero.

The pattern that NVIDIA GPUs since Ampere multiply at up to twice the speed (Mishra et al. 2021, arXiv 2104.08378), in
PyTorch by `torch.sparse.to_sparse_semi_structured`. CPUs have no kernels for it ("Only CUDA tensors are currently
supported"), so the method is offered only where there is such a GPU, and for the engine that runs there. The kernels want
16 bits, so weights are stored and run in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bigray.compress.base import ConversionError, Method, MethodConfig, Samples
from bigray.compress.methods import _networks
from bigray.engines.base import Arrays, Program
from bigray.tasks.base import Task

CAPABILITY = (8, 0)
"""Oldest compute capability whose tensor cores know the pattern."""


class Config(MethodConfig):
    """No knobs."""


class Prune24(Method):
    """See the module's text."""

    name = "prune_2_4"
    version = 2
    stage = "both"
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
        """Return a reason for every engine but torch_gpu."""
        if engine != "torch_gpu":
            return f"{engine} runs on the CPU here, which has no kernels for the 2:4 pattern; use torch_gpu"
        return None

    def prune(self, program: Program, config: Any, keep: Sequence[str], samples: Samples) -> None:
        """Put masks on the linear layers; the heads in ``keep`` stay dense.

        Raises:
            ConversionError: There is no linear layer of a size that the kernels take.
        """
        from bigray.models import _masks

        layers = _layers(program, keep)
        if not layers:
            outputs, inputs = _masks.TILE
            raise ConversionError(
                f"prune_2_4 found no linear layer of a multiple of {outputs} outputs and {inputs} inputs besides the heads."
            )
        for layer in layers:
            _masks.put(layer, _masks.Mask(layer.weight, 0.5, group=_masks.GROUP))

    def finish(self, program: Program, config: Any, keep: Sequence[str]) -> None:
        """Make the zeros part of the weights.

        Raises:
            ConversionError: The pattern was lost.
        """
        from bigray.models import _masks

        _masks.settle(program.network)
        for layer in _layers(program, keep):
            if not _masks.is_2_4(layer):
                raise ConversionError("prune_2_4: a group of four weights holds fewer than two zeros after training.")

    def rewrite(self, directory: Path, engine: str, config: Any, calibration: Iterable[Arrays], task: Task) -> None:
        """Store the weights in bfloat16; ``calibration`` is not looked at.

        Raises:
            ConversionError: There were none.
        """
        from bigray.models import _weights

        if not _weights.halve(directory):
            raise ConversionError("prune_2_4 found no weights of 32 bits in the files.")


def _layers(program: Program, keep: Sequence[str]) -> list[Any]:
    from bigray.models import _masks

    return [
        module
        for name, module in program.network.named_modules()
        if _masks.fits_2_4(module) and not _networks.is_kept(name, keep)
    ]


METHOD = Prune24()
