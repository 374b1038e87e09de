"""One voice (Asterisk's Allison), 18.6 minutes of prompts: a synthesiser trained from nothing speaks sentences it never saw.

Beside it stand the mean spectrogram, the best that knows nothing of the text, and the recordings themselves through the
vocoder, the best that it could be. ``BIGRAY_RECOGNISER`` may name an artifact of speech recognition; its word error rate on
the spoken sentences is then printed beside that on the recordings.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import compression_bars, run_recipe, training_minutes
from bigray.artifact import Artifact
from bigray.evaluate import answers
from bigray.models import _weights
from bigray.models.base import build
from bigray.predictor import open_artifact
from bigray.schemas import Speech, SpeechParameters
from bigray.tasks import _sound, _vocoder
from bigray.tasks._speech import decode_audio
from bigray.tasks.base import Row

TEST, VALIDATION = 40, 24
"""Prompts held out, drawn with seed 0 among those of at least three words and at most eight seconds."""
WORDS, SECONDS = 3, 8.0


def run(data: Path, work: Path) -> list[Bar]:
    tables, rows = _split(data / "speech_synthesis" / "asterisk_allison", work / "data" / "allison")
    recipe, results = run_recipe("allison", work, [f"data.{role}={table}" for role, table in tables.items()])
    dense = results.dense
    assert dense is not None
    folder = next((work / recipe.name).glob("train-*/dense"))
    task: Any = open_artifact(folder).task
    trained, silent = _losses(folder, rows)
    copy, mean = (task.score([_sounded(task, row, mean=flat) for row in rows], rows) for flat in (False, True))
    mcd, mel = (dense.metrics[name].value for name in ("mcd", "mel_distance"))
    return [
        at_most(
            f"allison: loss of frames on {TEST} unseen sentences (mean spectrogram {silent:.3f})", trained, silent, ""
        ),
        at_most(
            f"allison: mel-cepstral distance (recordings through the vocoder {copy['mcd']:.2f})", mcd, mean["mcd"], "dB"
        ),
        at_most(f"allison: distance of spectrograms ({copy['mel_distance']:.2f})", mel, mean["mel_distance"], "dB"),
        at_most("allison: minutes of training", training_minutes(results), 20, "min"),
        *compression_bars("allison", results, speedup=1.5),
        *_understood(work / recipe.name / "artifact", rows),
    ]


def _split(source: Path, target: Path) -> tuple[dict[str, Path], list[Row]]:
    """Write tables of train, validation and test; return them and the rows of test."""
    target.mkdir(parents=True, exist_ok=True)
    lines = [line.split("\t") for line in (source / "metadata.tsv").read_text(encoding="utf-8").splitlines()]
    spoken = [(source / "flac" / file, float(seconds), text) for file, seconds, text in lines]
    fit = [n for n, (_, seconds, text) in enumerate(spoken) if seconds <= SECONDS and len(text.split()) >= WORDS]
    chosen = np.random.default_rng(0).permutation(fit)
    parts = {"test": chosen[:TEST].tolist(), "validation": chosen[TEST : TEST + VALIDATION].tolist()}
    parts["train"] = sorted(set(range(len(spoken))) - set(parts["test"]) - set(parts["validation"]))
    unseen = {spoken[n][2].casefold() for n in (*parts["test"], *parts["validation"])}
    parts["train"] = [n for n in parts["train"] if spoken[n][2].casefold() not in unseen]
    tables = {}
    for role, numbers in parts.items():
        tables[role] = target / f"{role}.tsv"
        table = "".join(f"{spoken[n][0]}\t{spoken[n][2]}\n" for n in numbers)
        tables[role].write_text(f"audio\ttext\n{table}", encoding="utf-8")
    return tables, [{"text": spoken[n][2], "audio": spoken[n][0].read_bytes()} for n in parts["test"]]


def _losses(folder: Path, rows: Sequence[Row]) -> tuple[float, float]:
    """Return the mean distance of frames to the true ones, given true durations: of the network, and of the mean frame."""
    task: Any = open_artifact(folder).task
    network = build(Artifact.open(folder).manifest.architecture, pretrained=False)
    _weights.load(network, folder / "model")
    network.eval()
    far, mean = [], []
    for row in rows:
        batch = {name: torch.from_numpy(value) for name, value in task.encode([row]).items()}
        with torch.no_grad():
            far.append(float((task.forward(network, batch)["mel"] - batch["mel"]).abs().mean()))
        mean.append(float(batch["mel"].abs().mean()))  # frames are standardised: the mean is 0
    return float(np.mean(far)), float(np.mean(mean))


def _sounded(task: Any, row: Row, *, mean: bool) -> Speech:
    """Return a recording through the vocoder; with ``mean`` every frame is the mean one."""
    state = task.state
    mel = _vocoder.mel_spectrogram(decode_audio(row["audio"], state.sample_rate), state.sample_rate, state.mel_bands)
    if mean:
        mel = np.tile(np.array(state.mel_mean), (len(mel), 1))
    sound = _vocoder.griffin_lim(mel, state.sample_rate, state.vocoder_rounds)
    return Speech(audio=_sound.write(sound, state.sample_rate, "wav"), sampling_rate=state.sample_rate)


def _understood(artifact: Path, rows: Sequence[Row]) -> list[Bar]:
    """Let a recogniser write down what is said, by the model and in the recordings."""
    place = os.environ.get("BIGRAY_RECOGNISER")
    if not place:
        return []
    recogniser, voice = open_artifact(place), open_artifact(artifact)
    spoken = [one.audio for one in voice.predict([{"text": row["text"]} for row in rows], SpeechParameters())]
    errors = {}
    for kind, sounds in (("spoken", spoken), ("recorded", [row["audio"] for row in rows])):
        heard = answers(recogniser, [{"audio": sound} for sound in sounds])
        errors[kind] = recogniser.task.score(heard, [{"text": row["text"]} for row in rows])["wer"]
    # there is no bar, the number is for reading
    name = f"allison: word error rate of a recogniser on the voice (recordings {errors['recorded']:.3f})"
    return [at_least(name, errors["spoken"], 0.0, "")]
