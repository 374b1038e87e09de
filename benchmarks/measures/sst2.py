"""Sentiment of SST-2 with a fine-tuned MiniLM: accuracy on dev, and the compressed model against it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import compression_bars, run_recipe, training_minutes


def run(data: Path, work: Path) -> list[Bar]:
    folder = data / "text_classification" / "sst2"
    _, results = run_recipe("sst2", work, [f"data.train={folder / 'train.tsv'}", f"data.test={folder / 'dev.tsv'}"])
    assert results.dense is not None
    return [
        at_least("sst2 dev: dense accuracy", results.dense.metrics["accuracy"].value, 0.87, ""),
        at_most("sst2: minutes of training", training_minutes(results), 15, "min"),
        *compression_bars("sst2", results, speedup=2.5),
    ]
