"""The search space: which plans the recipe allows, as an Optuna define-by-run function, and the plans to try first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic.fields import FieldInfo

from bigray import plugins
from bigray.artifact import Step
from bigray.compress.base import Method
from bigray.compress.plan import METHODS, Plan, method, runtime, step
from bigray.errors import RecipeError
from bigray.recipe import Compress
from bigray.recipe import Method as Wanted
from bigray.tasks.base import Task

NONE = "none"
PRUNING = "prune_structured"
SPARED = (0.25, 0.5)
"""Shares of the dearest groups of layers that pruning may leave alone."""


@dataclass(frozen=True)
class Space:
    """Plans over engines x network methods (each on or off) x one graph method (or none), with their knobs."""

    network: tuple[str, ...]
    graph: Mapping[str, tuple[str, ...]]
    """Engine -> graph methods that suit it."""
    ranges: Mapping[str, Mapping[str, Any]]
    """Method -> knob -> fixed value, (low, high) tuple, or list of choices."""
    left_out: tuple[str, ...]
    """Sentences: what is not searched, and why."""

    def sample(self, trial: Any) -> dict[str, Any]:
        """Define one candidate on an Optuna trial; returns nothing beyond the trial's own parameters."""
        engine = trial.suggest_categorical("engine", sorted(self.graph))
        for name in self.network:
            if trial.suggest_categorical(f"use.{name}", [True, False]):
                self._knobs(trial, name)
        graph = trial.suggest_categorical(f"graph.{engine}", [NONE, *self.graph[engine]])
        if graph != NONE:
            self._knobs(trial, graph)
        return {}

    def _knobs(self, trial: Any, name: str) -> None:
        for knob, allowed in self.ranges[name].items():
            if isinstance(allowed, tuple):
                low, high = allowed
                suggest = trial.suggest_int if isinstance(low, int) and isinstance(high, int) else trial.suggest_float
                suggest(f"{name}.{knob}", low, high)
            elif isinstance(allowed, list):
                trial.suggest_categorical(f"{name}.{knob}", allowed)

    def allows(self, engine: str, methods: Iterable[str]) -> bool:
        """Say whether a plan may have this engine and these methods."""
        return engine in self.graph and {*methods} <= {*self.network, *self.graph[engine]}

    def plan(self, params: Mapping[str, Any]) -> Plan:
        """Turn sampled parameters into a plan; equal plans come out equal."""
        engine = params["engine"]
        steps = [self._step(name, params) for name in self.network if params.get(f"use.{name}")]
        graph = params.get(f"graph.{engine}", NONE)
        if graph != NONE:
            steps.append(self._step(graph, params))
        return Plan(engine=engine, steps=tuple(one for one in steps if one is not None))

    def _step(self, name: str, params: Mapping[str, Any]) -> Step | None:
        knobs = {}
        for knob, allowed in self.ranges[name].items():
            value = params.get(f"{name}.{knob}", allowed) if isinstance(allowed, tuple | list) else allowed
            knobs[knob] = round(value, 3) if isinstance(value, float) else value
        return step(name, knobs)

    def ends(self) -> dict[str, list[Step]]:
        """Return each method that acts on the network -> a step at either end of its ranges."""
        names = [*self.network, *dict.fromkeys(name for graphs in self.graph.values() for name in graphs)]
        acting = [name for name in names if method(name).stage != "graph"]
        found = {name: [self._step(name, self._start(name, share)) for share in (0.0, 1.0)] for name in acting}
        return {name: [one for one in steps if one is not None] for name, steps in found.items()}

    def without(self, reasons: Mapping[str, str]) -> Space:
        """Return this space without these methods (name -> why)."""
        return replace(
            self,
            network=tuple(name for name in self.network if name not in reasons),
            graph={engine: tuple(one for one in graphs if one not in reasons) for engine, graphs in self.graph.items()},
            left_out=(*self.left_out, *(f"method {name}: {reason}" for name, reason in reasons.items())),
        )

    def sparing(self, layers: Sequence[str]) -> Space:
        """Return this space with the choice to prune everywhere, or to leave the first quarter or half of ``layers`` alone."""
        pruning = self.ranges.get(PRUNING, {})
        if len(layers) < 2 or pruning.get("skip") != "":  # nothing to choose between, or the recipe says which
            return self
        choices = ["", *dict.fromkeys(",".join(layers[: math.ceil(len(layers) * share)]) for share in SPARED)]
        return replace(self, ranges={**self.ranges, PRUNING: {**pruning, "skip": choices}})

    def first(self) -> list[dict[str, Any]]:
        """Return the parameters of known-good plans: each graph method on each engine, mixed with pruning before it.

        Network methods that need no training (a smaller vocabulary) are first tried alone, then in addition to the others.
        """
        plain: list[dict[str, Any]] = [
            {"engine": engine, f"graph.{engine}": graph, **self._start(graph, 0.5)}
            for graph, engine in sorted(
                ((graph, engine) for engine, graphs in self.graph.items() for graph in graphs),
                key=lambda pair: (_preference(pair[0]), _preference(pair[1])),
            )
        ]
        # several network methods are tried one by one first: together, each at half of its range, they would be too much
        start = plain[: 2 if len(self.network) == 1 else 1]
        light = [name for name in self.network if not method(name).needs_recovery]
        besides = {key: value for name in light for key, value in self._used(name, 0.5).items()}
        alone = [{**params, **self._used(name, 0.5)} for name in self.network for params in start]
        more = [
            {**params, **besides, **self._used(name, 0.75)}
            for name in self.network
            if name not in light
            for params in start
        ]
        spared = [
            {**plain[0], **besides, **self._used(PRUNING, share), f"{PRUNING}.skip": layers}
            for share, layers in zip((0.75, 1.0), self._choices(PRUNING, "skip")[1:], strict=False)
            if plain
        ]
        bare = [{"engine": engine, f"graph.{engine}": NONE} for engine in sorted(self.graph, key=_preference)[:1]]
        off = {f"use.{name}": False for name in self.network}
        return [{**off, **params} for params in (*plain[:2], *alone, *spared, *plain[2:], *more, *bare)]

    def _used(self, name: str, share: float) -> dict[str, Any]:
        return {f"use.{name}": True, **self._start(name, share)}

    def _choices(self, name: str, knob: str) -> list[Any]:
        allowed = self.ranges.get(name, {}).get(knob) if name in self.network else None
        return allowed if isinstance(allowed, list) else []

    def _start(self, name: str, share: float) -> dict[str, Any]:
        begin = {}
        for knob, allowed in self.ranges[name].items():
            if isinstance(allowed, tuple):
                low, high = allowed
                value = low + share * (high - low)
                begin[f"{name}.{knob}"] = round(value) if isinstance(low, int) and isinstance(high, int) else value
            elif isinstance(allowed, list):
                begin[f"{name}.{knob}"] = allowed[0]
        return begin


def build(settings: Compress, task: Task) -> Space:
    """Work out the space for a task on this machine.

    Raises:
        RecipeError: A knob or range that a method does not have, or nothing left to search.
        UnknownPlugin: An engine or method of no known name.
    """
    left_out: list[str] = []
    engines = []
    for name in settings.engines:
        reason = runtime(name).available()
        left_out += [f"engine {name}: {reason}"] if reason else []
        engines += [] if reason else [name]
    network: list[str] = []
    graph: dict[str, list[str]] = {engine: [] for engine in engines}
    ranges: dict[str, dict[str, Any]] = {}
    for wanted in settings.methods:
        kind = method(wanted.name)
        ranges[wanted.name] = knob_ranges(wanted)
        if reason := kind.available():
            left_out.append(f"method {wanted.name}: {reason}")
            continue
        if kind.stage == "both" and kind.needs_recovery and settings.recover_epochs == 0:
            left_out.append(f"method {wanted.name}: it needs training, and compress.recover_epochs is 0")
            continue
        suited = _suited(kind, engines, task, left_out)
        if kind.stage == "network" and suited:
            network.append(wanted.name)
        for engine in suited if kind.stage != "network" else []:
            graph[engine].append(wanted.name)
    network.sort(key=lambda name: method(name).rank)
    if not engines:
        raise RecipeError(f"compress.engines: none can be used here. {' '.join(left_out)}", pointer="compress.engines")
    return Space(tuple(network), {key: tuple(value) for key, value in graph.items()}, ranges, tuple(left_out))


def knob_ranges(wanted: Wanted) -> dict[str, Any]:
    """Return what is searched for each knob of a method: the recipe's range, else the method's own.

    Raises:
        RecipeError: An unknown knob, or a bound or choice outside the knob's limits.
    """
    plugins.check(METHODS, wanted.name)
    fields = method(wanted.name).Config.model_fields
    ranges: dict[str, Any] = {}
    for knob, given in wanted.knobs.items():
        for value in given if isinstance(given, list) else [given]:
            step(wanted.name, {knob: value})  # raises for an unknown knob or a value out of limits
        ranges[knob] = _range(given, choices=bool(_declared(fields[knob]).get("choices")))
    for knob, field in fields.items():
        if knob in ranges:
            continue
        own = _declared(field)
        search = own.get("search")
        if search is None:
            search = own.get("choices") or ([own["low"], own["high"]] if own.get("low") is not None else [])
        ranges[knob] = _range(search, choices=bool(own.get("choices"))) if search else field.default
    return ranges


def _declared(field: FieldInfo) -> dict[str, Any]:
    """Return what `bigray.compress.base.knob` was told."""
    extra: Any = field.json_schema_extra
    return extra.get("knob", {}) if isinstance(extra, dict) else {}


def _range(given: Any, *, choices: bool) -> Any:
    """Return a value, a (low, high) tuple or a list; of a knob with choices, what lies between two is none of them."""
    if not isinstance(given, list):
        return given
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
    if len(given) == 1:
        return given[0]
    return tuple(given) if numbers and not choices and len(given) == 2 and given[0] < given[1] else list(given)


def _suited(kind: Method, engines: Sequence[str], task: Task, left_out: list[str]) -> list[str]:
    suited = []
    for engine in engines:
        if reason := kind.suits(task, engine):
            left_out.append(f"method {kind.name} with {engine}: {reason}")
        else:
            suited.append(engine)
    return suited


def _preference(name: str) -> int:
    # what won most often when measured comes first; names not listed come after
    order = ["openvino", "onnxruntime", "quantize_static", "quantize_aware", "quantize_dynamic", "bfloat16"]
    return order.index(name) if name in order else len(order)
