"""torch on one CUDA GPU, uncompiled: float32, or half precision where a method stored the weights so.

Its files are those of torch_eager, so a dense artifact runs here as it is. What they hold says how they are run: weights
of 16 or 8 bits under bfloat16 autocast; linear layers in the 2:4 pattern on sparse tensor cores
(`torch.sparse.to_sparse_semi_structured`). Its models are compared with the dense one on the same GPU, never with the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bigray.engines.base import Arrays, Engine, Program, Session, Stopwatch
from bigray.errors import MissingPackage
from bigray.models import _masks, _weights

DEVICE = "cuda"
HALF = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose weights stay in bfloat16 on the GPU; autocast would otherwise convert them at every run."""


class TorchGpu(Engine):
    """See the module's text."""

    name = "torch_gpu"
    reference = "torch_gpu"

    def available(self) -> str | None:
        """Return None where torch sees a CUDA device."""
        if DEVICE == "cuda" and not torch.cuda.is_available():
            return "torch sees no CUDA device here; use openvino or onnxruntime"
        return None

    def export(self, program: Program, directory: Path) -> None:
        """Write weights and sizes, as torch_eager does."""
        _weights.save(program.network, directory)

    def load(self, directory: Path, *, threads: int = 1, program: Callable[[], Program] | None = None) -> Session:
        """Build the bare network, resize it as recorded, fill in the weights, and put it on the GPU.

        Raises:
            ArtifactError: The files do not belong to the network that ``program`` builds.
            MissingPackage: There is no CUDA device.
            ValueError: ``program`` was not given.
        """
        if program is None:
            raise ValueError("torch_gpu stores weights and no graph; load needs `program`, which builds the network.")
        if reason := self.available():
            raise MissingPackage(f"The engine torch_gpu cannot be used: {reason}.")
        bare = program()
        network = _weights.load(bare.network, directory).eval().to(DEVICE)
        half = bool(_weights.types(directory) & {torch.bfloat16, torch.float8_e4m3fn})
        if half:
            for layer in network.modules():
                if isinstance(layer, HALF):
                    layer.weight.data = layer.weight.data.bfloat16()
                    _sparsify(layer)
        return GpuSession(bare, half)


class GpuSession(Session):
    """A network on the GPU. Inputs go there and outputs come back in each run, which ends when they are here."""

    def __init__(self, program: Program, half: bool) -> None:
        self._program, self._half = program, half

    def run(self, inputs: Mapping[str, np.ndarray], part: str = "") -> Arrays:
        """Run the network without gradients."""
        program = self._program.parts[part] if part else self._program
        # "W": torch cannot wrap read-only memory, which arrays from Ray's object store are
        arrays = {name: np.require(inputs[name], requirements=["C", "W"]) for name in program.inputs}
        with torch.inference_mode(), torch.autocast(DEVICE, torch.bfloat16, enabled=self._half):
            tensors = {name: torch.from_numpy(value).to(DEVICE) for name, value in arrays.items()}
            outputs = program.forward(program.network, tensors)
        return {name: _widened(outputs[name]).cpu().numpy() for name in program.outputs}

    def stopwatch(self) -> Stopwatch | None:
        """Return one of CUDA events: what the GPU took from the first copy to the last."""
        return Events() if DEVICE == "cuda" else None

    def close(self) -> None:
        """Free the GPU's memory."""
        self._program.network.cpu()


class Events(Stopwatch):
    """Times a block with CUDA events, in ms, on the current stream."""

    def __enter__(self) -> Events:
        """Note the beginning."""
        self._begin: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._end: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._begin.record()
        return self

    def __exit__(self, *_: object) -> None:
        """Note the end, and wait for it."""
        self._end.record()
        self._end.synchronize()
        self.ms = self._begin.elapsed_time(self._end)


def _sparsify(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear) and layer.weight.is_cuda and _masks.is_2_4(layer):
        sparse = torch.sparse.to_sparse_semi_structured(layer.weight.detach())
        layer.weight = nn.Parameter(sparse, requires_grad=False)


def _widened(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.is_floating_point() else value


ENGINE = TorchGpu()
