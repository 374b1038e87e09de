"""77 intents of bank customers (Banking77) with four networks: three from nothing, one pretrained."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import run_recipe, training_minutes

NETWORKS = {"ffnn": 0.75, "lstm": 0.75, "cnn": 0.80, "minilm": 0.88}
"""Recipe -> accuracy that is wanted of it."""


def run(data: Path, work: Path) -> list[Bar]:
    source = data / "text_classification" / "banking77" / "train.csv"
    bars: list[Bar] = []
    for network, bar in NETWORKS.items():
        _, results = run_recipe(f"banking77_{network}", work, [f"data.train={source}"])
        assert results.dense is not None
        rows = results.rows["test"]
        accuracy = results.dense.metrics["accuracy"].value
        bars.append(at_least(f"banking77: accuracy of {network}, {rows} unseen rows", accuracy, bar, ""))
        bars.append(at_most(f"banking77: minutes of training {network}", training_minutes(results), 20, "min"))
        if results.verdict is not None and results.verdict.drop_points is not None and results.chosen is not None:
            drop, faster = results.verdict.drop_points, results.chosen.speedup
            bars.append(at_most(f"banking77: drop of the chosen {network}", drop, results.max_drop, "points"))
            bars.append(at_least(f"banking77: chosen {network} against dense", faster, 1.0, "x"))
    return bars
