"""A task and a session: rows in, answers out. Evaluation, serving and `bigray predict` all answer through this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bigray import plugins
from bigray.artifact import Artifact
from bigray.engines.base import Program, Session, Stopwatch
from bigray.models.base import Architecture, build
from bigray.schemas import Wire
from bigray.tasks.base import Batch, Graph, Row, Task

if TYPE_CHECKING:
    from torch import nn


PIECES = 16
"""Pieces of long inputs that go through the model together; this bounds memory, whatever the length of an input."""


@dataclass(frozen=True)
class Predictor:
    """Answers rows with a loaded model."""

    task: Task
    session: Session
    seen: Callable[[Batch], None] | None = None
    """Told of each batch that goes through the model."""

    def predict(self, rows: Sequence[Row], parameters: Wire | None = None) -> list[Any]:
        """Return one answer per row; rows go through the model as one batch, long ones in several pieces."""
        task = self.task
        found: list[list[Any]] = [[] for _ in rows]
        pieces = ((number, piece) for number, row in enumerate(rows) for piece in task.split(row, parameters))
        while chunk := list(islice(pieces, task.together or max(PIECES, len(rows)))):
            batch = task.encode([piece for _, piece in chunk])
            if self.seen is not None:
                self.seen(batch)
            outputs = task.infer(self.session.run, batch, parameters)
            for (number, _), one in zip(chunk, task.decode(outputs, batch, parameters), strict=True):
                found[number].append(one)
        return [task.merge(row, parts, parameters) for row, parts in zip(rows, found, strict=True)]


def open_artifact(directory: str | Path, *, threads: int = 1, verify: bool = True) -> Predictor:
    """Load an artifact folder into a ready predictor.

    Raises:
        ArtifactError: Not an artifact, or one of a newer format.
        ArtifactCorrupt: A file differs from its recorded sha256.
        MissingPackage: The engine of the artifact is not installed.
    """
    artifact = Artifact.open(directory, verify=verify)
    task = load_task(artifact.manifest.task, artifact.task_dir)
    session = load_session(task, artifact.manifest.architecture, artifact.manifest.engine, artifact.model_dir, threads)
    return Predictor(task, session)


def load_task(name: str, directory: Path) -> Task:
    """Read a task's saved state."""
    task: Task = plugins.load("bigray.tasks", name).TASK.load(directory)
    return task


def load_session(task: Task, architecture: Architecture, engine: str, model_dir: Path, threads: int = 1) -> Session:
    """Load exported model files with their engine."""
    runtime = plugins.load("bigray.engines", engine).ENGINE
    session: Session = runtime.load(
        model_dir, threads=threads, program=lambda: program(task, build(architecture, pretrained=False))
    )
    return session


def program(task: Task, network: nn.Module) -> Program:
    """Bundle a network with what an engine needs to export it."""
    example = task.encode(task.example(2))
    graphs = dict(task.graphs)
    first = graphs.pop("")
    outputs = _outputs(first, network, example) if graphs else {}
    parts = {
        name: Program(network, one.forward, one.inputs, one.outputs, one.dynamic, one.example(example, outputs))
        for name, one in graphs.items()
    }
    return Program(network, first.forward, first.inputs, first.outputs, first.dynamic, example, parts)


def _outputs(graph: Graph, network: nn.Module, example: Batch) -> Batch:
    import torch

    with torch.no_grad():
        found = graph.forward(network.eval(), {name: torch.from_numpy(example[name]) for name in graph.inputs})
    return {name: value.numpy() for name, value in found.items()}


@dataclass(frozen=True)
class Inference(Session):
    """Everything between encoding and decoding as one run: what is timed, whether a task takes one step or many."""

    task: Task
    session: Session

    def run(self, inputs: Mapping[str, np.ndarray], part: str = "") -> Batch:
        """Run the task's inference."""
        return self.task.infer(self.session.run, dict(inputs))

    def stopwatch(self) -> Stopwatch | None:
        """Return the session's."""
        return self.session.stopwatch()
