"""A compression plan: an engine and an ordered list of steps, as data; and the one function that carries it out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bigray import measure, plugins
from bigray.artifact import Step
from bigray.compress.base import Method, Samples
from bigray.compress.calibration import batches
from bigray.engines.base import Engine, graph_folders
from bigray.errors import RecipeError
from bigray.predictor import program
from bigray.tasks.base import Row, Task

if TYPE_CHECKING:
    from torch import nn

METHODS = "bigray.compress.methods"
ENGINES = "bigray.engines"


class Plan(BaseModel):
    """What is done to a model, in order: methods on the network, export to the engine, methods on the exported graph."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    engine: str
    steps: tuple[Step, ...] = ()

    @property
    def key(self) -> str:
        """Short digest of the content: equal plans have equal keys."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def method(name: str) -> Method:
    """Load a method by name."""
    found: Method = plugins.load(METHODS, name).METHOD
    return found


def runtime(name: str) -> Engine:
    """Load an engine by name."""
    found: Engine = plugins.load(ENGINES, name).ENGINE
    return found


def step(name: str, knobs: dict[str, Any]) -> Step:
    """Make a step with every knob written out.

    Raises:
        RecipeError: An unknown knob or a value out of range, with what is allowed.
    """
    kind = method(name)
    try:
        config = kind.Config.model_validate(knobs)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(kind.Config.model_fields) or "none"
            raise RecipeError(f"compress.methods.{name}.{where}: unknown knob. Known: {known}.") from None
        raise RecipeError(f"compress.methods.{name}.{where}: {first['msg']} (got {first['input']!r}).") from None
    return Step(method=name, version=kind.version, knobs=config.model_dump(mode="json"))


def adapted(plan: Plan, task: Task) -> Task:
    """Return the task as it answers with the network that a plan makes; the same one where nothing but the network changes."""
    for kind, config in _todo(plan):
        task = kind.adapt(task, config)
    return task


def carry_out(
    plan: Plan,
    task: Task,
    network: nn.Module,
    calibration: Sequence[Row],
    directory: Path,
    recover: Callable[[nn.Module], object] | None = None,
    training: Sequence[Row] = (),
) -> None:
    """Apply a plan to ``network`` (changed in place) and write the engine's files into an empty directory.

    ``task`` is the dense model's; what answers with the files is `adapted`. ``recover`` trains the pruned network before export; ``calibration`` are rows for methods that need some, and
    ``training`` for those that need all (by default the same).
    """
    keep, hurt = task.keep(network), False
    for kind, config in _todo(plan):
        if kind.stage != "graph":
            kind.prune(program(task, network), config, keep, Samples(task, calibration, training or calibration))
            hurt = hurt or kind.needs_recovery
            task = kind.adapt(task, config)
    if hurt and recover is not None:
        recover(network)
    complete(plan, task, network, keep, calibration, directory)


def complete(
    plan: Plan, task: Task, network: nn.Module, keep: Sequence[str], calibration: Sequence[Row], directory: Path
) -> None:
    """Do what `carry_out` does after recovery: make the network final, export it, rewrite what was exported.

    ``task`` is `adapted` already; ``keep`` names the layers that the task wanted kept before anything was done.
    """
    with measure.work():
        network.eval()
        for kind, config in _todo(plan):
            if kind.stage != "graph":
                kind.finish(program(task, network), config, keep)
        runtime(plan.engine).export(program(task, network), directory)
        for kind, config in _todo(plan):
            if kind.stage != "network":
                given = (
                    batches(task, calibration, lambda: runtime(plan.engine).load(directory))
                    if kind.needs_calibration
                    else {}
                )
                for part, folder in graph_folders(directory).items():
                    kind.rewrite(folder, plan.engine, config, given.get(part, ()), task)


def _todo(plan: Plan) -> list[tuple[Method, Any]]:
    return [(method(one.method), method(one.method).Config.model_validate(one.knobs)) for one in plan.steps]
