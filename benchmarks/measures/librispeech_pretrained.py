"""The same 40 unseen speakers of LibriSpeech, told apart by Resemblyzer's encoder as it is: nothing is trained here."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.librispeech import TEST, split
from benchmarks.measures.training import compression_bars, run_recipe
from bigray.results import Results

SCRATCH = Path("librispeech", "results.json")
"""What the measure `librispeech` leaves in the same ``--work``."""


def run(data: Path, work: Path) -> list[Bar]:
    folders = split(data / "speaker_recognition" / "librispeech_4s", work / "data" / "librispeech_4s")
    _, results = run_recipe("librispeech_pretrained", work, [f"data.{role}={place}" for role, place in folders.items()])
    assert results.dense is not None
    scratch = Results.open(work / SCRATCH).dense if (work / SCRATCH).exists() else None
    bar, than = (0.15, "") if scratch is None else (scratch.metrics["eer"].value, ", against from scratch")
    return [
        at_most(
            f"librispeech, pretrained: equal error rate, {TEST} speakers{than}",
            results.dense.metrics["eer"].value,
            bar,
            "",
        ),
        # no bar, for reading
        at_least(
            "librispeech, pretrained: rank-1 of one half among 79 others",
            results.dense.metrics["rank_1"].value,
            0.0,
            "",
        ),
        *compression_bars("librispeech, pretrained", results, speedup=1.0),
    ]
