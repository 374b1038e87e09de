"""Blood cells of BCCD with FCOS on a MobileNetV2 whose weights come as a Python package."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import run_recipe, training_minutes, unpack


def run(data: Path, work: Path) -> list[Bar]:
    folder = unpack(data / "object_detection" / "bccd" / "bccd_trainval.tar.xz", work)
    _, results = run_recipe("bccd", work, [f"data.train={folder / 'train.txt'}", f"data.test={folder / 'val.txt'}"])
    assert results.dense is not None
    bars = [
        at_least("bccd val: dense mAP@50", results.dense.metrics["map_50"].value, 0.85, ""),
        at_most("bccd: minutes of training", training_minutes(results), 20, "min"),
    ]
    if results.verdict is not None and results.verdict.drop_points is not None and results.chosen is not None:
        bars.append(at_most("bccd: drop of the chosen model", results.verdict.drop_points, results.max_drop, "points"))
        bars.append(at_least("bccd: chosen against dense, batch 1, one thread", results.chosen.speedups[0], 1.0, "x"))
    return bars
