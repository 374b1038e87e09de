"""The same search with two workers and with one: do latencies rank the same, and how much sooner is it done?"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures import searches
from bigray.results import Results

DIFFERENT = (
    "model.options={width: 64}",
    "compress.recover_epochs=24",
    "compress.methods=[{name: prune_structured, knobs: {ratio: [0.1, 0.75], round_to: 4, importance: magnitude}}, "
    "{name: quantize_static, knobs: {preset: mixed}}]",
)
"""A network large enough, and candidates different enough, for their times to have an order."""


def run(data: Path | None, work: Path) -> list[Bar]:
    trained = searches.train(work / "workers", *DIFFERENT)
    folders = {count: work / "workers" / str(count) for count in (1, 2)}
    for count, folder in folders.items():
        if not (folder / searches.NAME / "results.json").is_file():
            output = searches.fresh(trained, folder)
            searches.start("run", output, *DIFFERENT, f"compress.concurrency={count}").wait()
    found = {count: searches.outcomes(folder) for count, folder in folders.items()}
    seconds = {
        count: Results.open(folder / searches.NAME / "results.json").seconds["search"]
        for count, folder in folders.items()
    }
    both = [key for key in found[1].keys() & found[2].keys() if found[1][key].variant.latency]
    both = [key for key in both if found[2][key].variant.latency]
    times = [np.array([trials[key].variant.latency[0].p50_ms for key in both]) for trials in found.values()]
    print(
        f"{len(both)} candidates in both; ms {[one.round(4).tolist() for one in times]}; {seconds} s", file=sys.stderr
    )
    return [
        at_least("two workers against one: candidates measured in both", len(both), searches.TRIALS - 1, ""),
        at_least("two workers against one: Spearman correlation of latencies", spearman(*times), 0.95, ""),
        at_most("two workers against one: wall time of the search", seconds[2] / seconds[1], 0.65, "of one's"),
    ]


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of ranks (no two values are equal)."""
    ranks = [values.argsort().argsort() for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])
