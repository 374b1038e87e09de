"""The detector of blood cells, compressed within 1 and 3 points."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar
from benchmarks.measures import budgets
from benchmarks.measures.budgets import Target
from benchmarks.measures.training import unpack

SEARCH = (
    "compress.batch_sizes=[1, 8]",
    "compress.methods=[prune_structured, quantize_static]",
    "compress.engines=[openvino]",
    "compress.trials=4",
    "compress.recover_epochs=3",
)


def run(data: Path, work: Path) -> list[Bar]:
    folder = unpack(data / "object_detection" / "bccd" / "bccd_trainval.tar.xz", work)
    given = [f"data.train={folder / 'train.txt'}", f"data.test={folder / 'val.txt'}", *SEARCH]
    return budgets.run("bccd", work, given, [Target(1.0, 5.0), Target(3.0, 10.0)])
