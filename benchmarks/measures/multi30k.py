"""English into German with a small transformer trained from nothing on the 29,000 captions of Multi30k; BLEU on val."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import compression_bars, run_recipe, training_minutes


def run(data: Path, work: Path) -> list[Bar]:
    folder = data / "translation" / "multi30k"
    _, results = run_recipe(
        "multi30k", work, [f"data.train={folder / 'train.en.gz'}", f"data.test={folder / 'val.en.gz'}"]
    )
    assert results.dense is not None
    return [
        at_least("multi30k en-de val: dense BLEU", 100 * results.dense.metrics["bleu"].value, 20, ""),
        at_most("multi30k: minutes of training", training_minutes(results), 30, "min"),
        *compression_bars("multi30k", results, speedup=1.5),
    ]
