"""Some answers to unseen rows as files, beside what the rows hold: numbers do not say how a voice sounds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import soundfile

from bigray.predictor import open_artifact
from bigray.results import Sample
from bigray.tasks import _sound
from bigray.tasks.base import Row

COUNT = 5
FOLDER = "samples"


def write(artifact: Path, rows: Sequence[Row], directory: Path) -> list[Sample]:
    """Answer the first rows and write sound and truth as MP3 below ``directory``.

    Meant for tasks whose `Contract` has a ``file``.
    """
    predictor = open_artifact(artifact)
    contract = predictor.task.contract
    field = contract.file[0] if contract.file else contract.field
    (directory / FOLDER).mkdir(exist_ok=True)
    found = []
    for number, row in enumerate(rows[:COUNT], start=1):
        sounds = {"spoken": getattr(predictor.predict([row])[0], field), "recorded": row[field]}
        names = {}
        for kind, data in sounds.items():
            names[kind] = f"{FOLDER}/{number}-{kind}.mp3"
            samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
            (directory / names[kind]).write_bytes(_sound.write(samples.mean(1), rate, "mp3"))
        text = str(row[contract.field])
        found.append(Sample(input=text, file=names["spoken"], truth=names["recorded"], media_type="audio/mpeg"))
    return found
