"""Whisper tiny.en, not trained further, compressed within 1 and 3 points of word error rate.

The unseen rows are 100 of the 428 prompts of one voice, drawn with seed 0.
"""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks.form import Bar
from benchmarks.measures import budgets
from benchmarks.measures.allison_asr import read_clips
from benchmarks.measures.budgets import Target
from benchmarks.measures.whisper_checkpoint import whisper_folder

UNSEEN = 100


def run(data: Path, work: Path) -> list[Bar]:
    model = whisper_folder(work / "data" / "whisper-tiny.en")
    folder = data / "speech_synthesis" / "asterisk_allison"
    clips = read_clips(folder)
    random.Random(0).shuffle(clips)
    given = [f"model.name={model}"]
    for split, chosen in (("train", clips[UNSEEN:]), ("test", clips[:UNSEEN])):
        table = work / "data" / f"{split}.tsv"
        lines = [f"{folder / 'flac' / name}\t{text}\n" for name, text in chosen]
        if not table.is_file():  # written anew it would be other data to the run
            table.write_text("".join(lines), encoding="utf-8")
        given.append(f"data.{split}={table}")
    return budgets.run("whisper", work, given, [Target(1.0, 5.0), Target(3.0, 8.0)])
