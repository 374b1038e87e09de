"""MiniLM on SST-2, compressed within 1 and 3 points."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar
from benchmarks.measures import budgets
from benchmarks.measures.budgets import Target

SEARCH = (
    "compress.methods=[{name: drop_layers, knobs: {keep: [0.5, 0.65], which: top}}, trim_vocabulary, quantize_static]",
    "compress.engines=[openvino]",
    "compress.trials=5",
    "compress.recover_epochs=8",
    "compress.recover_learning_rate=8.0e-5",
    "compress.augment=[crop_words]",
)
"""Half of the layers, and two thirds, both taught with phrases of the training sentences."""


def run(data: Path, work: Path) -> list[Bar]:
    folder = data / "text_classification" / "sst2"
    given = [f"data.train={folder / 'train.tsv'}", f"data.test={folder / 'dev.tsv'}", *SEARCH]
    return budgets.run("sst2", work, given, [Target(1.0, 6.0), Target(3.0, 10.0)])
