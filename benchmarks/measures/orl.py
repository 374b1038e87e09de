"""Faces of ORL: a network trained from nothing on 24 people tells 6 others apart, and knows the 24 on new images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import compression_bars, run_recipe, training_minutes, unpack
from bigray.evaluate import answers
from bigray.predictor import open_artifact
from bigray.tasks.base import Row

UNSEEN = 6


def run(data: Path, work: Path) -> list[Bar]:
    root = unpack(data / "face_recognition" / "orl" / "orl_s1_s30.tar.xz", work) / "att_faces"
    people = sorted(root.glob("s[0-9]*"), key=lambda folder: int(folder.name[1:]))
    trained, unseen = people[:-UNSEEN], people[-UNSEEN:]
    parts = {
        "train": [str(folder / "[1-8].pgm") for folder in trained],
        "validation": [str(folder / name) for folder in trained for name in ("9.pgm", "10.pgm")],
        "test": [str(folder / "*.pgm") for folder in unseen],
    }
    recipe, results = run_recipe("orl", work, [f"data.{role}={globs}" for role, globs in parts.items()])
    dense = results.dense
    assert dense is not None
    known = _closed_set(next((work / recipe.name).glob("train-*/dense")), trained)
    return [
        at_most(f"orl: equal error rate, {UNSEEN} people never seen", dense.metrics["eer"].value, 0.12, ""),
        at_least(f"orl: rank-1 of {UNSEEN} people never seen", dense.metrics["rank_1"].value, 0.95, ""),
        at_least(f"orl: rank-1 of new images of the {len(trained)} trained people", known, 0.95, ""),
        at_most("orl: minutes of training", training_minutes(results), 20, "min"),
        *compression_bars("orl", results, speedup=1.5),
    ]


def _closed_set(artifact: Path, people: list[Path]) -> float:
    """Return how often the nearest of the images trained on is of the same person, for images that were not."""
    predictor = open_artifact(artifact)

    def embeddings(numbers: range) -> tuple[np.ndarray, list[str]]:
        files = [(folder / f"{number}.pgm", folder.name) for folder in people for number in numbers]
        rows: list[Row] = [{"image": path.read_bytes()} for path, _ in files]
        return np.array([answer.embedding for answer in answers(predictor, rows)]), [name for _, name in files]

    gallery, names = embeddings(range(1, 9))
    probes, truth = embeddings(range(9, 11))
    nearest = (probes @ gallery.T).argmax(1)
    return float(np.mean([names[index] == name for index, name in zip(nearest, truth, strict=True)]))
