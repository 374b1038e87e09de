"""The contract of an engine: a runtime that a network is exported to and run by.

Three members. `available` says why an engine cannot be used here. `export` writes a network to files; what the files
are is the engine's own business (ONNX, OpenVINO IR, safetensors), never a pickle. `load` reads them into a `Session`.
Graph-stage compression methods edit those files between the two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Program:
    """A network with what an engine must know to export it.

    ``forward(network, inputs) -> outputs`` takes and returns dicts of tensors (see `bigray.tasks.base.Task.forward`);
    ``dynamic`` maps an input to its axes of varying size.
    """

    network: nn.Module
    forward: Callable[[nn.Module, Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic: Mapping[str, Mapping[int, str]]
    example: Arrays
    """One encoded batch of two rows, to trace with."""


class Session(ABC):
    """A loaded model. Safe to call from several threads."""

    @abstractmethod
    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Map input arrays to output arrays by name; extra entries (targets) are ignored."""

    def close(self) -> None:  # noqa: B027 - most sessions hold nothing that needs freeing
        """Free what the session holds."""


class Engine(ABC):
    """One runtime. Each file of this folder sets ``ENGINE`` to an instance."""

    name: ClassVar[str]

    @abstractmethod
    def available(self) -> str | None:
        """Return None when usable here, else the reason and the remedy in one sentence."""

    @abstractmethod
    def export(self, program: Program, directory: Path) -> None:
        """Write the network into an existing, empty directory. What the runtime raises is let through."""

    @abstractmethod
    def load(self, directory: Path, *, threads: int = 1, program: Callable[[], Program] | None = None) -> Session:
        """Read the files into a session that uses ``threads`` cores per call.

        ``program`` builds the bare network with random weights; only an engine whose files hold weights and no graph
        (torch_eager) calls it.
        """
