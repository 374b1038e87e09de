"""How good a model is: its answers over rows, the task's metrics, and how sure we are of them.

Intervals are 95 % percentile bootstrap (Efron and Tibshirani 1993), resampling rows. The drop between two models is
resampled in pairs: both are scored on the same drawn rows, so what is hard for both cancels out. Where rows depend on
one another, as all pairs of one person do, the people are resampled with all their rows (the subsets bootstrap: Bolle,
Ratha, Pankanti, Computer Vision and Image Understanding 2004).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bigray.predictor import Predictor
from bigray.results import Estimate
from bigray.tasks.base import Row, Task

BOOTSTRAP_SAMPLES = 400
BOOTSTRAP_SECONDS = 8.0
"""A slow metric (mean average precision) gets fewer samples, at least 20."""


def answers(
    predictor: Predictor, rows: Sequence[Row], *, batch_size: int = 32, listen: Callable[[int], None] | None = None
) -> list[Any]:
    """Return one answer per row, in the rows' order; rows of like size go through the model together."""
    task = predictor.task
    order = sorted(range(len(rows)), key=lambda index: task.item_bytes(rows[index]))
    found: list[Any] = [None] * len(rows)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        for index, answer in zip(chosen, predictor.predict([rows[i] for i in chosen], task.for_scoring()), strict=True):
            found[index] = answer
        if listen is not None:
            listen(start + len(chosen))
    return found


def evaluate(predictor: Predictor, rows: Sequence[Row], *, batch_size: int = 32, seed: int = 0) -> dict[str, Estimate]:
    """Score a model on rows; every metric with its interval."""
    return estimates(predictor.task, answers(predictor, rows, batch_size=batch_size), rows, seed)


def estimates(task: Task, found: Sequence[Any], rows: Sequence[Row], seed: int = 0) -> dict[str, Estimate]:
    """Score answers that are already there."""
    point = task.score(found, rows)
    drawn = [task.score([found[i] for i in pick], [rows[i] for i in pick]) for pick in _picks(task, rows, seed)]
    result = {}
    for name, value in point.items():
        low, high = np.percentile([sample[name] for sample in drawn], [2.5, 97.5])
        result[name] = Estimate(value=value, low=float(low), high=float(high), rows=len(rows))
    return result


def drop(
    task: Task, dense: Sequence[Any], candidate: Sequence[Any], rows: Sequence[Row], seed: int = 0
) -> tuple[float, float, float]:
    """Return how many points of the primary metric the candidate loses: the value, and its interval's two ends."""
    metric = task.primary

    def lost(pick: Sequence[int] | np.ndarray) -> float:
        truth = [rows[i] for i in pick]
        before = task.score([dense[i] for i in pick], truth)[metric.name]
        return metric.drop(before, task.score([candidate[i] for i in pick], truth)[metric.name])

    low, high = np.percentile([lost(pick) for pick in _picks(task, rows, seed)], [2.5, 97.5])
    return lost(range(len(rows))), float(low), float(high)


def _picks(task: Task, rows: Sequence[Row], seed: int) -> Iterator[np.ndarray]:
    """Yield row numbers drawn with replacement: row by row, or all rows that belong together."""
    rng, begun = np.random.default_rng(seed), time.monotonic()
    together: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        together.setdefault(task.drawn_together(row) or f"row {number}", []).append(number)
    groups = [np.array(group) for group in together.values()]
    alone = len(groups) == len(rows)
    for number in range(BOOTSTRAP_SAMPLES):
        if number >= 20 and time.monotonic() - begun > BOOTSTRAP_SECONDS:
            return
        drawn = rng.integers(0, len(groups), len(groups))
        while not alone and len(groups) > 1 and (drawn == drawn[0]).all():
            drawn = rng.integers(0, len(groups), len(groups))  # of one group alone nothing can be told apart
        yield drawn if alone else np.concatenate([groups[group] for group in drawn])
