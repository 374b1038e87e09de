"""MiniLM on SST-2, compressed within 1 and 3 points."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar
from benchmarks.measures import budgets
from benchmarks.measures.budgets import Target

SEARCH = (
    "compress.methods=[drop_layers, prune_structured, trim_vocabulary, quantize_static, quantize_dynamic]",
    "compress.trials=9",
    "compress.recover_epochs=1",
)


def run(data: Path, work: Path) -> list[Bar]:
    folder = data / "text_classification" / "sst2"
    given = [f"data.train={folder / 'train.tsv'}", f"data.test={folder / 'dev.tsv'}", *SEARCH]
    return budgets.run("sst2", work, given, [Target(1.0, 6.0), Target(3.0, 10.0)])
