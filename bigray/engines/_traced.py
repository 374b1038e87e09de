"""A program as the exporters of torch want it: positional tensors in, a tuple of tensors out."""

from __future__ import annotations

import torch
from torch import nn

from bigray.engines.base import Program


class Positional(nn.Module):
    """The network and the task's ``forward`` around it, as one module."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.network = program.network.cpu()
        self._program = program
        self.eval()  # all of it: exporters give back the mode that the outermost module had

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Take the program's inputs in order, return its outputs in order."""
        named = dict(zip(self._program.inputs, arrays, strict=True))
        outputs = self._program.forward(self.network, named)
        return tuple(outputs[name] for name in self._program.outputs)


def example(program: Program) -> tuple[torch.Tensor, ...]:
    """Return the program's example batch as tensors, in the order of its inputs."""
    return tuple(torch.from_numpy(program.example[name].copy()) for name in program.inputs)


def exported(program: Program) -> torch.export.ExportedProgram:
    """Trace the program with `torch.export`, axes of varying size left open.

    Whatever torch raises is let through: a network that fixes the size of an axis declared as dynamic is refused there.
    """
    axes = tuple(dict.fromkeys(program.dynamic.get(name, {}), torch.export.Dim.DYNAMIC) for name in program.inputs)
    with torch.no_grad():
        return torch.export.export(Positional(program), example(program), dynamic_shapes=(axes,), strict=False)


def is_recurrent(program: Program) -> bool:
    """Whether the network holds an RNN, LSTM or GRU.

    `torch.export` unrolls these over time (decomposition of aten.lstm, torch 2.14), which fixes the number of steps;
    tracing with TorchScript keeps them as one operator, so the engines take that way for them.
    """
    return any(isinstance(module, nn.RNNBase) for module in program.network.modules())
