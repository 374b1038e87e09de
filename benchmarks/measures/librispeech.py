"""Voices of LibriSpeech, four seconds of each: a network trained from nothing tells 40 unseen speakers apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import compression_bars, run_recipe, training_minutes

TEST, VALIDATION = 40, 20
"""Speakers held out, drawn with seed 0; of each there is one clip, whose halves make the one pair of the same person."""


def run(data: Path, work: Path) -> list[Bar]:
    folders = split(data / "speaker_recognition" / "librispeech_4s", work / "data" / "librispeech_4s")
    _, results = run_recipe("librispeech", work, [f"data.{role}={folder}" for role, folder in folders.items()])
    dense = results.dense
    assert dense is not None
    return [
        at_most(f"librispeech: equal error rate, {TEST} speakers never heard", dense.metrics["eer"].value, 0.15, ""),
        # a hundredth is what guessing reaches; there is no bar, the number is for reading
        at_least("librispeech: rank-1 of one half among 79 others", dense.metrics["rank_1"].value, 0.0, ""),
        at_most("librispeech: minutes of training", training_minutes(results), 20, "min"),
        *compression_bars("librispeech", results, speedup=1.5),
    ]


def split(source: Path, target: Path) -> dict[str, Path]:
    """Write whole clips of the speakers of train and half clips of the others, ``<role>/<speaker>/<clip>.flac``, once."""
    folders = {role: target / role for role in ("train", "validation", "test")}
    done = target / ".complete"
    if done.exists():
        return folders
    clips = sorted(source.rglob("*.flac"))
    roles = ["test"] * TEST + ["validation"] * VALIDATION + ["train"] * (len(clips) - TEST - VALIDATION)
    for role, number in zip(roles, np.random.default_rng(0).permutation(len(clips)), strict=True):
        samples, rate = soundfile.read(clips[number], dtype="int16")
        folder = folders[role] / clips[number].name.split("-")[0]
        folder.mkdir(parents=True, exist_ok=True)
        # a clip of train is written twice: an epoch then hears two stretches of it
        for half, part in enumerate([samples] * 2 if role == "train" else np.array_split(samples, 2)):
            soundfile.write(folder / f"{clips[number].stem}-{half}.flac", part, rate)
    done.touch()
    return folders
