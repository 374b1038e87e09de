"""Spoken digits (FSDD) by a speaker never trained on, each of the five in turn: no speaker was picked."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from benchmarks.form import Bar, at_least
from benchmarks.measures.fsdd import files, speakers
from benchmarks.measures.training import run_recipe, unpack


def run(data: Path, work: Path) -> list[Bar]:
    folder = unpack(next((data / "speech_recognition" / "fsdd").glob("*.tar.xz")), work) / "recordings"
    found = {name: _accuracy(data, work, name) for name in speakers(folder)}
    each = [at_least(f"fsdd: word accuracy, {name} never trained on", value, 0.80, "") for name, value in found.items()]
    return [
        at_least("fsdd: word accuracy of a speaker never trained on, mean of five", mean(found.values()), 0.80, ""),
        *each,
    ]


def _accuracy(data: Path, work: Path, speaker: str) -> float:
    train, _, unheard = files(data, work, speaker)
    changes = [f"name=fsdd-{speaker}", f"data.train={train}", f"data.test={unheard}", "compress.enabled=false"]
    _, results = run_recipe("fsdd", work, changes)
    assert results.dense is not None
    return 1 - results.dense.metrics["wer"].value
