"""A small race on this machine: every engine, with every method that acts on its files, on three networks of our own.

Which engine wins, and whether INT8 is fast at all, depends on the processor: matrix products of torch eager run at 38 %
of peak on one maker's machine, and a quantized convolution can be slower than a plain one. The networks have random
weights, so nothing is said here about quality; a search measures that on the task's own metric.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigray import measure, plugins
from bigray.compress.plan import ENGINES, METHODS, Plan, carry_out, method, step
from bigray.models.base import Architecture, build
from bigray.predictor import load_session
from bigray.recipe import Data, Model
from bigray.tasks.base import Row, Task

LABELS = ("no", "yes")
DATA = Data(train="made-up")


@dataclass(frozen=True)
class Found:
    """One line of the answer."""

    network: str
    label: str
    speedup: float | None
    """How many times faster than torch_eager with the same weights; None when it cannot be had."""
    p50_ms: float | None
    reason: str | None
    """Why it cannot be had, or why it should be left alone."""


def race(threads: int = 1, seconds: float = 1.0, listen: Callable[[str], None] = lambda _: None) -> list[Found]:
    """Measure everything, batch of one row; a failure is a line, never an exception. Takes about a minute."""
    found: list[Found] = []
    for name, task, architecture in _networks():
        listen(name)
        with tempfile.TemporaryDirectory(prefix="bigray-probe-") as scratch:
            found += _one(name, task, architecture, Path(scratch), threads, seconds)
    return found


def _networks() -> Iterator[tuple[str, Task, Architecture]]:
    text: list[Row] = [{"text": f"word{n % 97} and word{n % 89} are here", "label": LABELS[n % 2]} for n in range(200)]
    kinds: tuple[tuple[str, str, str, dict[str, Any], list[Row]], ...] = (
        ("convolutions over an image", "image_classification", "cnn", {"image_size": 64}, text),
        ("a recurrent network over words", "text_classification", "rnn", {}, text),
        ("convolutions over speech", "automatic_speech_recognition", "cnn", {"sample_rate": 16_000}, text),
    )
    for title, task, name, own, rows in kinds:
        model = Model(name=name, input=own)
        prepared: Task = plugins.load("bigray.tasks", task).TASK.prepare(DATA, model, rows)
        yield title, prepared, prepared.architecture(model)


def _one(
    name: str, task: Task, architecture: Architecture, scratch: Path, threads: int, seconds: float
) -> Iterator[Found]:
    rows = task.example(16)
    sessions: dict[str, Any] = {}
    failed: list[Found] = []
    for number, (plan, reason) in enumerate(_plans(task)):
        label = " + ".join([plan.engine, *(one.method for one in plan.steps)])
        if reason is None:
            try:
                (scratch / str(number)).mkdir()
                carry_out(plan, task, build(architecture, pretrained=False).eval(), rows, scratch / str(number))
                sessions[label] = load_session(task, architecture, plan.engine, scratch / str(number), threads)
            except Exception as error:  # whatever an engine dislikes is part of the answer
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        if reason is not None:
            failed.append(Found(name, label, None, None, reason))
    batch = task.encode(rows[:1])
    run = measure.race(sessions, {key: batch[key] for key in task.inputs}, seconds=seconds * len(sessions))
    for label, session in sessions.items():
        ratio = run.believed("torch_eager", label)
        slow = "is not faster than torch_eager here" if ratio <= 1.0 and label != "torch_eager" else None
        yield Found(name, label, ratio, run.latency[label].p50_ms, slow)
        session.close()
    yield from failed


def _plans(task: Task) -> Iterator[tuple[Plan, str | None]]:
    """Yield every engine bare and with each method that needs no training, and why a plan is out of the question."""
    engines = plugins.names(ENGINES)
    for engine in sorted(engines, key=lambda name: name != "torch_eager"):
        missing = plugins.load(ENGINES, engine).ENGINE.available()
        yield Plan(engine=engine), missing
        for name in plugins.names(METHODS):
            kind = method(name)
            untrained = kind.stage == "graph" or (kind.stage == "both" and not kind.needs_recovery)
            if untrained and missing is None and engine != "torch_eager":
                yield Plan(engine=engine, steps=(step(name, {}),)), kind.available() or kind.suits(task, engine)
