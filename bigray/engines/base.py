"""The contract of an engine: a runtime that a network is exported to and run by.

Three members. `available` says why an engine cannot be used here. `export` writes a network to files; what the files
are is the engine's own business (ONNX, OpenVINO IR, safetensors), never a pickle. `load` reads them into a `Session`.
Graph-stage compression methods edit those files between the two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

Arrays = dict[str, np.ndarray]


def on_gpu(engine: str) -> bool:
    """Return whether an engine's sessions take a GPU: its name says so, and nothing need be imported to know."""
    return engine.endswith("_gpu")


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
    parts: Mapping[str, Program] = field(default_factory=dict)
    """Further graphs on the same network, by name, e.g. the step of a decoder. Exported into folders of that name."""

    def graphs(self, directory: Path) -> dict[Path, Program]:
        """Return folder -> program, for this one and its parts; the folders of parts are made."""
        found = {directory: self}
        for name, part in self.parts.items():
            (directory / name).mkdir(exist_ok=True)
            found[directory / name] = part
        return found


class Stopwatch(ABC):
    """Times what happens while it is entered."""

    ms: float = 0.0
    """Milliseconds of the last time."""

    @abstractmethod
    def __enter__(self) -> Stopwatch:
        """Begin."""

    @abstractmethod
    def __exit__(self, *_: object) -> None:
        """End, and know how long it took."""


class Session(ABC):
    """A loaded model. Safe to call from several threads."""

    @abstractmethod
    def run(self, inputs: Mapping[str, np.ndarray], part: str = "") -> Arrays:
        """Map input arrays to output arrays by name; extra entries (targets) are ignored.

        Args:
            inputs: Name -> array.
            part: Which graph of a program of several; the program's own by default.
        """

    def stopwatch(self) -> Stopwatch | None:
        """Return what times a run better than this process's clock can, or None."""
        return None

    def close(self) -> None:  # noqa: B027 - most sessions hold nothing that needs freeing
        """Free what the session holds."""


class Parts(Session):
    """Sessions of a program of several graphs, as one; "" is the program's own graph."""

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = sessions

    def run(self, inputs: Mapping[str, np.ndarray], part: str = "") -> Arrays:
        """Run one graph."""
        return self._sessions[part].run(inputs)

    def close(self) -> None:
        """Free all of them."""
        for session in self._sessions.values():
            session.close()


def graph_folders(directory: Path) -> dict[str, Path]:
    """Return part -> folder of exported files, "" first; what holds no files of its own is no part."""
    inner = sorted(path for path in directory.iterdir() if path.is_dir() and any(path.iterdir()))
    return {"": directory} | {path.name: path for path in inner}


class Engine(ABC):
    """One runtime. Each file of this folder sets ``ENGINE`` to an instance."""

    name: ClassVar[str]
    reference: ClassVar[str] = "torch_eager"
    """Engine that runs the dense model where this one's are compared with it; it reads the files of torch_eager."""

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
        (torch_eager, torch_gpu) calls it.
        """
