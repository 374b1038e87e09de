"""8-bit floating point (e4m3): linear layers multiply in it on GPUs that can, at up to twice the rate of bfloat16.

Micikevicius et al. 2022, "FP8 Formats for Deep Learning" (arXiv 2209.05433). Weights have a scale per output and are
stored so; inputs are scaled row by row when they come, so nothing is calibrated. Sums and outputs are wider
(`bigray.models._replacements.Float8Linear`, `torch.nn.functional.scaled_mm`). Convolutions and heads run in bfloat16.
Tensor cores know the format since compute capability 8.9; no engine here uses it on a CPU, so it is offered for
torch_gpu only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bigray.compress.base import ConversionError, Method, MethodConfig, Samples
from bigray.compress.methods import _networks
from bigray.engines.base import Arrays, Program
from bigray.tasks.base import Task

CAPABILITY = (8, 9)
"""Oldest compute capability whose tensor cores know the format."""
ALIGNED = 16
"""Inputs and outputs of a layer are multiples of this; others stay as they are."""


class Config(MethodConfig):
    """No knobs."""


class QuantizeFp8(Method):
    """See the module's text."""

    name = "quantize_fp8"
    stage = "both"
    Config: ClassVar[type[MethodConfig]] = Config

    def available(self) -> str | None:
        """Return None where there is a GPU whose tensor cores know the format."""
        import torch

        if not torch.cuda.is_available():
            return "there is no CUDA device, and no engine here uses 8-bit floats on a CPU; use quantize_static"
        if (found := torch.cuda.get_device_capability()) < CAPABILITY:
            return (
                f"this GPU has compute capability {found[0]}.{found[1]}; 8-bit floats need 8.9 or later; use bfloat16"
            )
        return None

    def suits(self, task: Task, engine: str) -> str | None:
        """Return a reason for every engine but torch_gpu."""
        return None if engine == "torch_gpu" else f"{engine} runs on the CPU here; use torch_gpu"

    def prune(self, program: Program, config: Any, keep: Sequence[str], samples: Samples) -> None:
        """Change nothing yet: what comes before export may still train the layers.

        Raises:
            ConversionError: There is no linear layer of such sizes.
        """
        _layers(program, keep)

    def finish(self, program: Program, config: Any, keep: Sequence[str]) -> None:
        """Exchange the linear layers; the heads in ``keep`` stay.

        Raises:
            ConversionError: There is no linear layer of such sizes, or the network uses a layer's weights by itself.
        """
        from bigray.models import _replacements

        before = _networks.shapes(program, _networks.example(program))
        for name in _layers(program, keep):
            layer = program.network.get_submodule(name)
            _replacements.put(program.network, name, _replacements.Float8Linear.of(layer))
        _networks.require_same_shapes(program, before)

    def rewrite(self, directory: Path, engine: str, config: Any, calibration: Iterable[Arrays], task: Task) -> None:
        """Halve what is left in 32 bits; ``calibration`` is not looked at.

        Raises:
            ConversionError: No weight is stored in 8 bits.
        """
        import torch

        from bigray.models import _weights

        _weights.halve(directory)
        if torch.float8_e4m3fn not in _weights.types(directory):
            raise ConversionError("quantize_fp8 left no weight of 8 bits in the files.")


def _layers(program: Program, keep: Sequence[str]) -> list[str]:
    from torch import nn

    found = [
        name
        for name, module in program.network.named_modules()
        if type(module) is nn.Linear
        and not module.in_features % ALIGNED
        and not module.out_features % ALIGNED
        and not _networks.is_kept(name, keep)
    ]
    if not found:
        raise ConversionError(
            f"quantize_fp8 found no linear layer whose inputs and outputs are multiples of {ALIGNED}, besides the heads."
        )
    return found


METHOD = QuantizeFp8()
