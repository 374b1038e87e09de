"""How much of what an exhaustive grid finds does the search find at a fifth of its cost, and more than by chance?

Every plan of a grid over a network (here the Fashion-MNIST one; `hypervolume_sst2` has another) is carried out once and
recorded in ``--work``. The search's own proposer is then replayed from the record with five seeds until its candidates have cost a fifth of the grid's time, and
so are random choices. The hypervolume is that of drop, time and size under a reference point (Zitzler and Thiele 1998).
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna

from benchmarks.form import Bar, at_least
from benchmarks.measures import fashion_mnist, training
from bigray import pipeline
from bigray import recipe as recipes
from bigray import recovery as recoveries
from bigray.cluster import cluster
from bigray.compress import space
from bigray.compress.candidate import Job, Workbench
from bigray.compress.proposer import Proposer
from bigray.compress.search import FAILED, OBJECTIVES
from bigray.compress.space import NONE, Space
from bigray.data import sources
from bigray.evaluate import evaluate
from bigray.measure import directory_bytes
from bigray.predictor import open_artifact
from bigray.progress import Display
from bigray.recipe import Recipe
from bigray.results import Trial

SHARE, SEEDS = 0.2, 5
FIRST = 4
"""Known-good plans at the start, as many as fit well into a fifth of the grid."""
WORST_DROP = 10.0
"""Points; the reference point is this drop at the time and the size of the dense model."""
GRID = (
    "compress.methods=[{name: prune_structured, knobs: {ratio: [0.25, 0.45, 0.65], importance: magnitude}}, "
    "{name: prune_magnitude, knobs: {sparsity: [0.4, 0.6, 0.8]}}, {name: quantize_static, knobs: {preset: mixed}}]",
    "compress.engines=[openvino, onnxruntime]",
    "compress.recover_epochs=0.5",
    "compress.batch_sizes=[1]",
    "compress.evaluation_rows=3000",
    "compress.sensitivity_rows=0",
)


def run(data: Path | None, work: Path) -> list[Bar]:
    images = fashion_mnist._as_png(fashion_mnist.INSTALLED, work / "data" / "fashion-mnist")
    given = [f"output={work / 'grid'}", f"data.train={images / 'train'}", f"data.test={images / 'test'}", *GRID]
    return bars("Fashion-MNIST", recipes.read(training.RECIPES / "fashion_mnist.yaml", given))


def bars(name: str, recipe: Recipe) -> list[Bar]:
    """Measure a recipe whose methods' knobs are all fixed or lists of choices."""
    with cluster():
        job = _job(recipe)
        plans = space.build(recipe.compress, Workbench(job).task)
    record = _record(job, plans)
    grid = [params for params in _grid(plans) if record[plans.plan(params).key].status != "failed"]
    budget = SHARE * sum(record[plans.plan(params).key].seconds for params in grid)
    size = directory_bytes(job.dense / "model")
    whole = volume(record.values(), size)
    ours, chance = [], []
    for seed in range(SEEDS):
        found = list(_spend((record[key] for key in _proposed(plans, record, seed)), budget))
        order = np.random.default_rng(seed).permutation(len(grid))
        drawn = list(_spend((record[plans.plan(grid[number]).key] for number in order), budget))
        ours.append(volume(found, size) / whole)
        chance.append(volume(drawn, size) / whole)
    print(f"{len(grid)} plans; search {np.round(ours, 3)}; random {np.round(chance, 3)}", file=sys.stderr)
    return [
        at_least(
            f"{name}: hypervolume at a fifth of the grid's cost, median of 5 seeds", median(ours), 0.95, "of the grid's"
        ),
        at_least(f"{name}: the same over random search", median(ours) / median(chance), 1.0, "x"),
    ]


def volume(trials: Iterable[Trial], dense_bytes: int) -> float:
    """Return the share of the box under the reference point that finished trials dominate: drop, time, size."""
    costs = [
        (max(0.0, trial.drop_points or 0.0) / WORST_DROP, 1 / trial.variant.speedup, trial.variant.size_bytes)
        for trial in trials
        if trial.status == "ok"
    ]
    points = np.array([(drop, time, size / dense_bytes) for drop, time, size in costs]).reshape(-1, 3)
    points = points[(points < 1).all(1)]
    if not len(points):
        return 0.0
    edges = [np.unique([*points[:, axis], 1.0]) for axis in range(3)]
    filled = np.zeros([len(one) - 1 for one in edges], dtype=bool)
    for point in points:  # every cell of the grid of coordinates that lies behind a point
        filled[tuple(slice(int(np.searchsorted(edges[axis], point[axis])), None) for axis in range(3))] = True
    sides = np.ix_(*[np.diff(one) for one in edges])
    return float((sides[0] * sides[1] * sides[2] * filled).sum())


def _job(recipe: Recipe) -> Job:
    with Display() as display:
        pipeline.run(recipe, display, until="train")
    folder = Path(recipe.output) / recipe.name
    dense = next(folder.glob("train-*/dense"))
    splits = sources.load(recipe.data, pipeline.task_class(recipe), recipe.seed)
    evaluation = sources.take(splits.validation, recipe.compress.evaluation_rows, recipe.seed)
    recovery = sources.take(splits.train, pipeline.RECOVERY_ROWS, recipe.seed)
    predictor = open_artifact(dense)
    metric = evaluate(predictor, evaluation, seed=recipe.seed)[predictor.task.primary.name].value
    calibration = recovery[: recipe.compress.calibration_rows]
    return Job(recipe, dense, folder / "grid", evaluation, calibration, recovery, metric, recoveries.alone)


def _record(job: Job, plans: Space) -> Mapping[str, Trial]:
    """Carry out every plan, each in a folder of its own, so that none is skipped because of another; kept on disk."""
    found: dict[str, Trial] = {}
    bench = Workbench(job)
    chosen = {plans.plan(params).key: plans.plan(params) for params in _grid(plans)}
    for number, (key, plan) in enumerate(chosen.items()):
        bench.job = replace(job, directory=job.directory / key)
        found[key] = bench.run(plan)
        print(f"{number + 1} of {len(chosen)}: {found[key].variant.label}: {found[key].status}", file=sys.stderr)
    return found


def _grid(plans: Space) -> Iterator[dict[str, Any]]:
    """Yield the parameters of every different plan of a space whose knobs are fixed or lists of choices."""
    seen: set[str] = set()
    uses = [[(f"use.{name}", on) for on in (True, False)] for name in plans.network]
    knobs = [
        [(f"{name}.{knob}", value) for value in allowed]
        for name, ranges in plans.ranges.items()
        for knob, allowed in ranges.items()
        if isinstance(allowed, list)
    ]
    for engine, methods in plans.graph.items():
        graphs = [(f"graph.{engine}", name) for name in (NONE, *methods)]
        for chosen in itertools.product(*uses, graphs, *knobs):
            params = {"engine": engine, **dict(chosen)}
            if (key := plans.plan(params).key) not in seen:
                seen.add(key)
                yield params


def _proposed(plans: Space, record: Mapping[str, Trial], seed: int) -> Iterator[str]:
    """Yield the keys of the plans that the search's own proposer asks for, told what the record says of each."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        ledger = Path(scratch) / "ledger.jsonl"
        proposer = Proposer(plans, OBJECTIVES, plans.first()[:FIRST], len(record), seed, ledger)
        for number in itertools.count():
            params = proposer.suggest(str(number))
            if isinstance(params, str):
                return
            key = plans.plan(params).key
            yield key
            trial = record[key]
            costs = FAILED if trial.status == "failed" else _costs(trial)
            proposer.on_trial_complete(str(number), costs)


def _costs(trial: Trial) -> dict[str, float]:
    drop = FAILED["drop_points"] if trial.drop_points is None else trial.drop_points
    size = float(trial.variant.size_bytes)
    return {"drop_points": drop, "speedup": trial.variant.speedup, "size_bytes": size}


def _spend(trials: Iterable[Trial], budget: float) -> Sequence[Trial]:
    """Return trials, in order, while their time together stays within ``budget`` seconds."""
    found, spent = [], 0.0
    for trial in trials:
        spent += trial.seconds
        if spent > budget:
            break
        found.append(trial)
    return found
