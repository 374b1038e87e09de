"""Look at torch networks before and after they are changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bigray.compress.base import ConversionError, Samples
from bigray.engines.base import Program

if TYPE_CHECKING:
    import torch
    from torch import nn


def in_training(program: Program, samples: Samples) -> Program:
    """Return what training runs of a network that answers step by step: all of its layers in one pass; else ``program``.

    Raises:
        ConversionError: It takes calibration rows, and there are none.
    """
    task = samples.task
    if set(program.parts) != {"step"}:
        return program
    rows = [row for row in samples.calibration if task.fits(row)][:2]
    if not rows:
        raise ConversionError("A network that answers step by step is traced on calibration rows, and there are none.")
    batch = task.encode(rows)
    return Program(program.network, task.forward, task.inputs, task.outputs, task.dynamic, batch)


def example(program: Program) -> dict[str, torch.Tensor]:
    """Return the program's example batch as tensors, inputs only."""
    import torch

    return {name: torch.from_numpy(program.example[name].copy()) for name in program.inputs}


def shapes(program: Program, batch: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Run the network and return the shapes of its outputs."""
    import torch

    with torch.inference_mode():
        outputs = program.forward(program.network, batch)
    return {name: tuple(value.shape) for name, value in outputs.items()}


def size(network: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def is_kept(name: str, keep: Sequence[str]) -> bool:
    """Whether the module ``name`` is one of the names in ``keep``, lies in one of them or holds one of them."""
    return any(f"{name}.".startswith(f"{one}.") or f"{one}.".startswith(f"{name}.") for one in keep)


def require_same_shapes(program: Program, before: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `ConversionError` unless the changed network runs and its outputs have the shapes they had ``before``."""
    try:
        after = shapes(program, example(program))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ConversionError(f"The network cannot run after the change: {type(error).__name__}: {error}.") from error
    if after != before:
        raise ConversionError(f"The change altered the outputs from {before} to {after}.")
