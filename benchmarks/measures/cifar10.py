"""Photos of CIFAR-10 with a small residual network trained from nothing."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import compression_bars, run_recipe, training_minutes, unpack


def run(data: Path, work: Path) -> list[Bar]:
    folder = unpack(data / "image_classification" / "cifar10" / "cifar10_jpeg.tar.xz", work)
    _, results = run_recipe("cifar10", work, [f"data.train={folder / 'train'}", f"data.test={folder / 'test'}"])
    assert results.dense is not None
    return [
        at_least("cifar10 test: dense accuracy", results.dense.metrics["accuracy"].value, 0.70, ""),
        at_most("cifar10: minutes of training", training_minutes(results), 20, "min"),
        *compression_bars("cifar10", results, speedup=2.5),
    ]
