"""The recogniser of spoken digits, compressed within 1 and 3 points of word error rate."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar
from benchmarks.measures import budgets, fsdd
from benchmarks.measures.budgets import Target

SEARCH = (
    "compress.batch_sizes=[1, 8]",
    "compress.methods=[prune_structured, quantize_static]",
    "compress.trials=8",
    "compress.recover_epochs=8",
)


def run(data: Path, work: Path) -> list[Bar]:
    train, takes, unheard = fsdd.files(data, work, fsdd.HELD_OUT)
    given = [f"data.train={train}", f"data.test={[*takes, *unheard]}", *SEARCH]
    return budgets.run("fsdd", work, given, [Target(1.0, 5.0), Target(3.0, 8.0)])
