"""The candidates of a search as a small picture: quality against latency, with sizes; kept inside the artifact.

An artifact travels without its run's folder, so what was chosen, and from among what, goes along as ``front.json``. It
is optional: artifacts without it are as good as any. Quality and latency are those of the search (validation rows).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bigray.results import Results, Trial

FILE = "front.json"
MAX_POINTS = 80
"""Points kept; those on the front and the chosen one first."""
_MAX_BYTES = 256 * 1024

Kind = Literal["dense", "candidate", "front", "chosen"]


class Point(BaseModel):
    """One measured model."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    label: str
    kind: Kind
    quality: float
    """The primary metric, on validation rows."""
    p50_ms: float
    p95_ms: float
    size_bytes: int
    speedup: float = 1.0


class Front(BaseModel):
    """What the search found."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    metric: str
    higher_is_better: bool
    max_drop: float
    """Points that might be lost."""
    tried: int
    """Candidates, also those that failed."""
    points: list[Point]


def of(results: Results) -> Front | None:
    """Return the picture of a search; None where nothing was searched or measured."""
    drawn = [trial for trial in results.trials if trial.status == "ok" and placed(trial, results.metric)]
    if not drawn:
        return None
    drawn.sort(key=lambda trial: (not trial.chosen, not trial.on_front, trial.number))
    points = [_point(trial, results.metric) for trial in drawn[:MAX_POINTS]]
    quality = dense_quality(results, drawn[0])
    if quality is not None and results.dense is not None and results.dense.latency:
        latency = results.dense.latency[0]
        points.append(
            Point(
                label=f"dense, {results.dense.engine}",
                kind="dense",
                quality=quality,
                p50_ms=latency.p50_ms,
                p95_ms=latency.p95_ms,
                size_bytes=results.dense.size_bytes,
            )
        )
    return Front(
        metric=results.metric,
        higher_is_better=results.higher_is_better,
        max_drop=results.max_drop,
        tried=len(results.trials),
        points=points,
    )


def placed(trial: Trial, metric: str) -> bool:
    """Say whether a trial has both a quality and a latency."""
    return metric in trial.variant.metrics and bool(trial.variant.latency)


def dense_quality(results: Results, trial: Trial) -> float | None:
    """Return the dense model's quality on the rows of the search, by what a trial knows: its drop against it."""
    if trial.drop_points is None:
        known = results.dense.metrics.get(results.metric) if results.dense is not None else None
        return None if known is None else known.value
    sign = 1 if results.higher_is_better else -1
    return trial.variant.metrics[results.metric].value + sign * trial.drop_points / 100


def write(results: Results, folder: Path) -> None:
    """Put the picture into an artifact that is being written; nothing where there is none."""
    if (front := of(results)) is not None:
        (folder / FILE).write_text(front.model_dump_json(indent=1), encoding="utf-8")


def read(folder: Path) -> Front | None:
    """Return the picture of an artifact; None where it has none, or one that this version cannot read."""
    try:
        path = folder / FILE
        return Front.model_validate_json(path.read_bytes()) if path.stat().st_size <= _MAX_BYTES else None
    except (OSError, ValidationError):
        return None


def _point(trial: Trial, metric: str) -> Point:
    latency = trial.variant.latency[0]
    return Point(
        label=trial.variant.label,
        kind="chosen" if trial.chosen else "front" if trial.on_front else "candidate",
        quality=trial.variant.metrics[metric].value,
        p50_ms=latency.p50_ms,
        p95_ms=latency.p95_ms,
        size_bytes=trial.variant.size_bytes,
        speedup=trial.variant.speedup,
    )
