"""bfloat16: half the bits of float32, the same range, 8 bits of precision (arXiv 1905.12322). No calibration data.

OpenVINO computes in bfloat16 where the CPU has instructions for it (avx512_bf16, amx_bf16) and emulates or ignores it
elsewhere, so the method is offered only there; its weights are stored as float16. torch_gpu stores them as bfloat16 and
runs under autocast. Either halves the files.
Measured on OpenVINO, one thread: 1.7 to 2.0 times the speed of OpenVINO float32, cosine to float32 1.0000 on MiniLM.
The gentlest method: the one to fall back on where 8 bits cost too much.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from bigray.compress.base import ConversionError, Method, MethodConfig
from bigray.compress.methods import _graphs
from bigray.engines import openvino as openvino_engine
from bigray.engines.base import Arrays
from bigray.tasks.base import Task


class Config(MethodConfig):
    """No knobs."""


class Bfloat16(Method):
    """See the module's text."""

    name = "bfloat16"
    stage = "graph"
    Config: ClassVar[type[MethodConfig]] = Config

    def available(self) -> str | None:
        """Return None on a GPU, or on a CPU with bfloat16 instructions and OpenVINO installed."""
        import torch

        return None if torch.cuda.is_available() else _cpu()

    def suits(self, task: Task, engine: str) -> str | None:
        """Return a reason for every engine but openvino and torch_gpu."""
        if engine == "torch_gpu":
            return None
        return _cpu() if engine == "openvino" else f"{engine} does not offer it on CPUs here; use openvino"

    def rewrite(self, directory: Path, engine: str, config: Any, calibration: Iterable[Arrays], task: Task) -> None:
        """Halve the weights and ask the engine to compute in bfloat16; ``calibration`` is not looked at.

        Raises:
            ConversionError: The weights were not converted.
        """
        if engine == "torch_gpu":
            from bigray.models import _weights

            if not _weights.halve(directory):
                raise ConversionError("bfloat16 found no weights of 32 bits in the files.")
            return
        before = _graphs.weight_bytes(directory)
        openvino_engine.save(_graphs.read_openvino(directory), directory, half=True)
        openvino_engine.write_hints(directory, INFERENCE_PRECISION_HINT="bf16")
        found = _graphs.openvino_types(directory)["Constant:f16"]
        _graphs.require(self.name, directory, before, found, "weights of 16 bits")


def _cpu() -> str | None:
    if reason := openvino_engine.ENGINE.available():
        return reason
    if "BF16" not in openvino_engine.core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "this CPU has no bfloat16 instructions (avx512_bf16 or amx_bf16); use a machine that has them"
    return None


METHOD = Bfloat16()
