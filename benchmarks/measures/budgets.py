"""What compression brings within 1 point and within 3 points, beside what other tools make of the same dense model.

The second budget reuses the first one's search, and its cost is measured too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures import rivals, roofline
from benchmarks.measures.training import run_recipe
from bigray.errors import NothingQualified

AHEAD = 1.3
"""How much faster than the best rival that keeps the budget."""
SMALLER = 6.0


@dataclass(frozen=True)
class Target:
    """A budget in points, and the speed-up over the dense model in torch that is wanted for it."""

    points: float
    speedup: float


def run(name: str, work: Path, overrides: Sequence[str], targets: Sequence[Target]) -> list[Bar]:
    """Measure a recipe under each target, smallest budget first."""
    bars: list[Bar] = []
    searched = 0.0
    for number, target in enumerate(targets):
        budget = [*overrides, f"compress.max_drop={target.points}"]
        try:
            recipe, results = run_recipe(name, work, budget)
        except NothingQualified as error:
            print(error, file=sys.stderr)
            bars.append(Bar(f"{name} at {target.points:g}: a model qualified", 0.0, 1.0, False, ""))
            continue
        chosen, verdict = results.chosen, results.verdict
        assert chosen is not None
        assert verdict is not None
        assert verdict.drop_points is not None
        where = f"{name} at {target.points:g}"
        print(f"{where}: {chosen.label}", file=sys.stderr)
        seconds = results.seconds["search"] + results.seconds["verify"]
        if number == 0:
            searched = sum(trial.seconds for trial in results.trials)
        else:
            bars.append(at_most(f"{where}: cost of this second budget in first searches", seconds / searched, 0.05, ""))
        pair = rivals.open_run(work / recipe.name)
        lines = rivals.table(pair, _folder(work / f"rivals-{name}"))
        ours, eager = (next(line for line in lines if line["model"] == name) for name in ("bigray", "torch eager"))
        others = [line for line in lines if line["model"] not in ("bigray", "torch eager")]
        others = [line for line in others if line.get("drop_points", math.inf) <= target.points]
        plain = [line for line in others if line["model"].endswith("float32")]
        bars.append(at_most(f"{where}: drop on unseen rows", verdict.drop_points, target.points, "points"))
        for size in (1, 8):
            key = f"speedup_{size}"
            most = roofline.ceiling(pair, size, eager[f"p50_ms_{size}"])
            over = f"{where}: over torch eager, batch {size} (8 bits alone: {most:.1f}x at most)"
            bars.append(at_least(over, ours[key], target.speedup, "x"))
            bars += _over(f"{where}: over the best float32 engine, batch {size}", ours, plain, key, 1.0)
            if number == 0:
                bars += _over(f"{where}: over the best rival, batch {size}", ours, others, key, AHEAD)
        if number == 0:
            bars.append(at_least(f"{where}: smaller than dense", pair.dense_bytes / ours["bytes"], SMALLER, "x"))
    return bars


def _over(name: str, ours: dict[str, float], others: Sequence[dict[str, float]], key: str, bar: float) -> list[Bar]:
    if not others:
        return []
    best = max(others, key=lambda line: line[key])
    return [at_least(f"{name} ({best['model']})", ours[key] / best[key], bar, "x")]


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
