"""The residual network on CIFAR-10, compressed within 1 and 3 points."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar
from benchmarks.measures import budgets
from benchmarks.measures.budgets import Target
from benchmarks.measures.training import unpack

SEARCH = (
    "compress.batch_sizes=[1, 8]",
    "compress.methods=[{name: prune_structured, knobs: {ratio: [0.4, 0.75]}}, quantize_static]",
    "compress.trials=6",
    "compress.recover_epochs=3",
)


def run(data: Path, work: Path) -> list[Bar]:
    folder = unpack(data / "image_classification" / "cifar10" / "cifar10_jpeg.tar.xz", work)
    given = [f"data.train={folder / 'train'}", f"data.test={folder / 'test'}", *SEARCH]
    return budgets.run("cifar10", work, given, [Target(1.0, 10.0), Target(3.0, 20.0)])
