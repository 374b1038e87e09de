"""torch, uncompiled and in float32: the reference that every other engine and method is measured against.

Its files hold weights and sizes (see `bigray.models._weights`), no graph; loading builds the network anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from bigray.engines.base import Arrays, Engine, Program, Session
from bigray.models import _weights


class TorchEager(Engine):
    """See the module's text."""

    name = "torch_eager"

    def available(self) -> str | None:
        """Return None: torch is a dependency of bigray."""
        return None

    def export(self, program: Program, directory: Path) -> None:
        """Write weights and sizes; a pruned network keeps its shapes."""
        _weights.save(program.network, directory)

    def load(self, directory: Path, *, threads: int = 1, program: Callable[[], Program] | None = None) -> Session:
        """Build the bare network, resize it as recorded, and fill in the weights.

        Raises:
            ArtifactError: The files do not belong to the network that ``program`` builds.
            ValueError: ``program`` was not given.
        """
        if program is None:
            raise ValueError("torch_eager stores weights and no graph; load needs `program`, which builds the network.")
        bare = program()
        _weights.load(bare.network, directory)
        return TorchSession(bare, threads)


class TorchSession(Session):
    """A network in evaluation mode. torch's number of threads is set per calling thread."""

    def __init__(self, program: Program, threads: int) -> None:
        self._program = program
        self._network = program.network.eval()
        self._threads = threads

    def run(self, inputs: Mapping[str, np.ndarray], part: str = "") -> Arrays:
        """Run the network without gradients."""
        program = self._program.parts[part] if part else self._program
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        # "W": torch cannot wrap read-only memory, which arrays from Ray's object store are
        tensors = {name: torch.from_numpy(np.require(inputs[name], requirements=["C", "W"])) for name in program.inputs}
        with torch.inference_mode():
            outputs = program.forward(self._network, tensors)
        return {name: outputs[name].numpy() for name in program.outputs}


ENGINE = TorchEager()
