"""Whisper tiny.en, not trained further, on 428 prompts of one studio voice: clip by clip, and joined to an hour.

Texts are compared through Whisper's English normaliser, as its paper does. The hour is the clips in a shuffled order, three
times over and a bit, with the pauses that the files have at their ends; once as it is, and once with a faint noise in
which there is no pause to cut at, so that windows overlap.
"""

from __future__ import annotations

import io
import multiprocessing
import random
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import compression_bars, run_recipe
from benchmarks.measures.whisper_checkpoint import whisper_folder
from bigray.evaluate import answers
from bigray.predictor import open_artifact

RATE = 16_000
NOISE_DB = -20.0
"""Of the noise against the mean power of the speech."""


def run(data: Path, work: Path) -> list[Bar]:
    model = whisper_folder(work / "data" / "whisper-tiny.en")
    folder = data / "speech_synthesis" / "asterisk_allison"
    table = work / "data" / "allison.tsv"
    clips = read_clips(folder)
    table.write_text("".join(f"{folder / 'flac' / name}\t0\t{text}\n" for name, text in clips), encoding="utf-8")
    changes = [f"data.train={table}", f"data.test={table}", f"model.name={model}"]
    _, results = run_recipe("allison_asr", work, changes)
    artifact = work / "allison_asr" / "artifact"
    return [*whisper_bars(artifact, folder, clips), *compression_bars("allison_asr", results, speedup=1.5)]


def read_clips(folder: Path) -> list[tuple[str, str]]:
    """Return (file, text) of every clip whose text is known."""
    lines = [line.split("\t") for line in (folder / "metadata.tsv").read_text(encoding="utf-8").splitlines()]
    return [(name, text) for name, _, text in lines]


def whisper_bars(artifact: Path, folder: Path, clips: Sequence[tuple[str, str]]) -> list[Bar]:
    """Measure an artifact clip by clip and on an hour."""
    predictor = open_artifact(artifact, threads=2)
    rows = [{"audio": (folder / "flac" / name).read_bytes(), "text": text} for name, text in clips]
    apart = predictor.task.score(answers(predictor, rows, batch_size=4), rows)["wer"]
    print(f"clip by clip: WER {100 * apart:.2f} % on {len(rows)} clips", flush=True)
    bars = [at_most(f"Whisper tiny.en, {len(rows)} clips: word error rate", 100 * apart, 20, "%")]
    # a process of its own each: the peak of memory is that of one recording
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for minutes, noisy in ((5, False), (60, False), (60, True)):
            found = pool.apply(_joined, (artifact, folder, clips, minutes, noisy))
            print(f"{minutes} min, noise {noisy}: {found}", flush=True)
            if minutes == 5:
                short = found["peak_mb"]
                continue
            name = "an hour joined, in noise without pauses" if noisy else "an hour joined"
            # in noise the same clips, one by one, are the measure
            alone = found["apart"] if noisy else apart
            # no bar in noise, the number is for reading: Whisper itself ends some windows early there
            bar = 100 if noisy else 2
            bars.append(
                at_most(f"{name}: points of WER over clip by clip", 100 * (found["wer"] - alone), bar, "points")
            )
            if not noisy:
                bars.append(at_most("peak memory of 60 min against 5 min", found["peak_mb"] / short, 1.25, "x"))
                speed = 60 * minutes / found["seconds"]
                bars.append(at_least("an hour joined: seconds of sound per second", speed, 1, "x"))
    return bars


def join_clips(
    folder: Path, clips: Sequence[tuple[str, str]], minutes: int, noisy: bool
) -> tuple[bytes, str, list[Any]]:
    """Return a FLAC file of that length, its text, and the clips in it as rows."""
    rng, noise = random.Random(0), np.random.default_rng(0)
    file, left, texts, rows = io.BytesIO(), minutes * 60 * RATE, [], []
    with soundfile.SoundFile(file, "w", RATE, 1, format="FLAC", subtype="PCM_16") as sink:
        while left > 0:
            for name, text in rng.sample(clips, len(clips)):
                samples, rate = soundfile.read(folder / "flac" / name, dtype="float32")
                assert rate == RATE
                if noisy:
                    level = np.sqrt(np.square(samples).mean()) * 10 ** (NOISE_DB / 20)
                    samples = samples + level * noise.standard_normal(len(samples)).astype(np.float32)
                sink.write(samples)
                texts.append(text)
                rows.append({"audio": (samples, RATE), "text": text})
                left -= len(samples)
                if left <= 0:
                    break
    return file.getvalue(), " ".join(texts), rows


def _joined(
    artifact: Path, folder: Path, clips: Sequence[tuple[str, str]], minutes: int, noisy: bool
) -> dict[str, float]:
    import time

    data, text, rows = join_clips(folder, clips, minutes, noisy)
    alone = rows[: len(clips)] if noisy else []
    del rows
    predictor = open_artifact(artifact, threads=2)
    begun = time.monotonic()
    answer = predictor.predict([{"audio": data}])
    seconds = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    score = predictor.task.score
    apart = score(answers(predictor, alone, batch_size=4), alone)["wer"] if alone else 0.0
    return {
        "wer": score(answer, [{"text": text}])["wer"],
        "apart": apart,
        "peak_mb": peak,
        "file_mb": len(data) / 1e6,
        "seconds": seconds,
    }
