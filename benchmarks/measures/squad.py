"""Answers found in Wikipedia paragraphs with a fine-tuned MiniLM, on a held-out fifth that shares no paragraph with training.

The baseline needs no learning: a window slides over the context (Richardson et al. 2013), the one that shares most with
the question wins, words weighted by how rare they are in the context; the answer is its longest run of other words.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import compression_bars, run_recipe, training_minutes
from bigray import metrics
from bigray.cluster import cluster
from bigray.data import sources
from bigray.tasks.question_answering import QuestionAnswering

WINDOW = 12
"""Words."""


def run(data: Path, work: Path) -> list[Bar]:
    source = data / "question_answering" / "squad_part" / "squad_part.json.gz"
    recipe, results = run_recipe("squad", work, [f"data.train={source}"])
    assert results.dense is not None
    with cluster():
        rows = sources.take(sources.load(recipe.data, QuestionAnswering, recipe.seed).test, 10_000)
    truth = [[one["text"] for one in row["answers"]] for row in rows]
    baseline = metrics.squad([sliding_window(row["question"], row["context"]) for row in rows], truth)["f1"]
    dense = results.dense.metrics["f1"].value
    return [
        at_least("squad: dense F1", dense, 0.35, ""),
        at_least(f"squad: dense F1 above the sliding window ({baseline:.3f})", dense - baseline, 0.10, ""),
        at_most("squad: minutes of training", training_minutes(results), 20, "min"),
        *compression_bars("squad", results, speedup=2.0),
    ]


def sliding_window(question: str, context: str) -> str:
    """Return the baseline's answer."""
    words = [match.span() for match in re.finditer(r"[\w'-]+", context)]
    lower = [context[start:end].lower() for start, end in words]
    counts, asked = Counter(lower), set(re.findall(r"[\w'-]+", question.lower()))

    def shared(start: int) -> float:
        return sum(math.log(1 + 1 / counts[word]) for word in asked.intersection(lower[start : start + WINDOW]))

    first = max(range(max(1, len(words) - WINDOW + 1)), key=shared)
    runs = _runs([place for place in range(first, min(first + WINDOW, len(words))) if lower[place] not in asked])
    best = max(runs, key=len, default=[])
    return context[words[best[0]][0] : words[best[-1]][1]] if best else ""


def _runs(places: Sequence[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for place in places:
        if found and found[-1][-1] == place - 1:
            found[-1].append(place)
        else:
            found.append([place])
    return found
